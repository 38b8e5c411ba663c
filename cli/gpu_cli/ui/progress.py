"""Progress as the rest of the program sees it: something to tell, not a way to draw."""

from typing import Protocol


class Progress(Protocol):
    """Told by long work what it is doing. Implementations draw it, or write a line, or stay silent."""

    def stage(self, name: str) -> None:
        """A new stage begins (`engine`, `weights`, `load`); the one before it is done."""

    def detail(self, text: str) -> None:
        """How far the present stage is; may be called often and shown rarely."""

    def note(self, text: str) -> None:
        """One line that should stay readable."""


class Silent:
    """No one is watching."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def detail(self, text: str) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""
