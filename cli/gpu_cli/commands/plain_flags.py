"""Commands whose flags are False when they are not given, which spares most runs of `gpu` the import of pydantic.

Typer (0.29) makes `--help` and its completion options None instead, and imports pydantic, which takes longer than all
else that `gpu ls` does, to find that None needs no conversion. Remove this when Typer does not.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup


def _false_when_not_given(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.default is None:
            parameter.default = False
    return parameters


class PlainCommand(TyperCommand):
    """A command with such flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return _false_when_not_given(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """A group of commands with such flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return _false_when_not_given(super().get_params(ctx))
