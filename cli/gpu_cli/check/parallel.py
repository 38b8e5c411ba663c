"""Calls side by side."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def begun(calls: Sequence[Callable[[], T]]) -> "Sequence[Future[T]]":
    """Each in a thread that nobody has to wait for: one that hangs must not hold up Ctrl-C, nor the program's end."""
    results = [Future[T]() for _ in calls]
    for call, result in zip(calls, results, strict=True):
        threading.Thread(target=_run, args=(call, result), daemon=True).start()
    return results


def _run(call: Callable[[], T], result: "Future[T]") -> None:
    try:
        result.set_result(call())
    except BaseException as error:  # noqa: BLE001 - for whoever looks for the result
        result.set_exception(error)
