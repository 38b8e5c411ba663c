"""What a container is to be, how its host gets there, and what has become of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .images import env_on


class State(StrEnum):
    """Of the container; a cloud shows something else."""

    CREATING = "creating"
    """The image is pulled, or the host has failed at it: nothing runs."""
    RUNNING = "running"
    RESTARTING = "restarting"
    """The command has ended; it is started again."""
    EXITED = "exited"
    """The command has ended, and that was all."""
    REMOVED = "removed"


@dataclass(frozen=True)
class ContainerSpec:
    """What is to run. `id` also names its folder."""

    id: str
    image: str
    entrypoint: Sequence[str]
    """Empty: the image's own."""
    cmd: Sequence[str]
    env: Mapping[str, str]
    port: int
    """The declared one, on which the command believes to listen."""
    restarts: bool = True
    """Whether the command is started again when it has ended."""
    env_on: Callable[[Mapping[str, str], int, int], dict[str, str]] = env_on
    """The environment with its declared port rewritten to the one on this machine."""


@dataclass(frozen=True)
class Boot:
    """How the host gets there, in seconds of the emulator's clock."""

    pull_s: float = 0.0
    layers: int = 5
    dead: bool = False
    """The host takes the order and does nothing: not a line in the log, for ever."""
    fatal: Sequence[str] = ()
    """What the host logs after the pull instead of starting the command."""
    crash_after_s: float | None = None
    """Not the command runs but one that says `crash_lines` and ends after so long, every time."""
    crash_lines: Sequence[str] = ("Traceback (most recent call last):", "RuntimeError: Engine core failed to start")


AT_ONCE = Boot()
