"""Commands that convert only what needs it, which spares most runs of `gpu` the import of pydantic.

Typer (0.29) has pydantic convert every parameter, also what is text already and what was not given, and the import
takes longer than all else that `gpu ls` does. Remove this when Typer does not.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class _Conversion:
    """Of what is given for a parameter: by itself where there is nothing to it, by Typer where there is."""

    def coerce(self, value: Any, *, param: Any, ctx: Any) -> Any:
        """The value as the command's function takes it."""
        kind = param.type_descriptor.annotation
        if kind == list[str]:
            return [*value] if value else ()
        if value is None or kind is str:
            return value
        return type(param).get_runtime_param(param).coerce(value, param=param, ctx=ctx)


def _plain(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        parameter.get_runtime_param = _Conversion
    return parameters


class PlainCommand(TyperCommand):
    """A command with such parameters."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return _plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """A group of commands with such parameters."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return _plain(super().get_params(ctx))
