"""Replacing functions of Python's own in every place where modules have taken hold of them."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

Patch = tuple[object, str, object]

OURS = ("gpu_", "emulators.", "supervisor", "concurrent.futures", "threading", "queue")
_found: dict[tuple[int, int], list[tuple[object, str, object]]] = {}


def everywhere(patches: Sequence[Patch], only_ours: Sequence[tuple[object, object]] = ()) -> list[Patch]:
    """These, and the same for every name by which a module of ours knows what they replace, and for defaults; pairs
    of `only_ours` replace what is the first for our modules, and for no others.
    """
    replaced = [(getattr(owner, name), value) for owner, name, value in patches if isinstance(owner, ModuleType)]
    instead = {id(original): value for original, value in (*replaced, *only_ours) if callable(original)}
    return [*patches, *((owner, name, _replaced(value, instead)) for owner, name, value in _bindings(instead))]


def _replaced(value: Any, instead: Mapping[int, Any]) -> Any:
    if isinstance(value, tuple):
        return tuple(instead.get(id(one), one) for one in value)
    if isinstance(value, dict):
        return {name: instead.get(id(one), one) for name, one in value.items()}
    return instead[id(value)]


def _bindings(instead: Mapping[int, object]) -> list[tuple[object, str, object]]:
    """Where they are known: attributes of modules, and defaults of functions. Looked for once."""
    looked_at = len(sys.modules), len(instead)
    if looked_at not in _found:
        _found.clear()
        modules = [module for name, module in list(sys.modules.items()) if name.startswith(OURS)]
        _found[looked_at] = [found for module in modules for found in _in_module(module, instead)]
    return _found[looked_at]


def _in_module(module: ModuleType, instead: Mapping[int, object]) -> Iterator[tuple[object, str, object]]:
    for name, value in list(vars(module).items()):
        if id(value) in instead:
            yield module, name, value
        elif getattr(value, "__module__", None) == module.__name__:
            members = vars(value).values() if isinstance(value, type) else [value]
            for member in [value, *members]:
                yield from _defaults(getattr(member, "__wrapped__", member), instead)


def _defaults(function: object, instead: Mapping[int, object]) -> Iterator[tuple[object, str, object]]:
    if not isinstance(function, FunctionType):
        return
    if any(id(value) in instead for value in function.__defaults__ or ()):
        yield function, "__defaults__", function.__defaults__
    if any(id(value) in instead for value in (function.__kwdefaults__ or {}).values()):
        yield function, "__kwdefaults__", function.__kwdefaults__


@contextlib.contextmanager
def patched(patches: Sequence[Patch]) -> Iterator[None]:
    """Until the end of the block."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, value in patches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
