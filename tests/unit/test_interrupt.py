import os
import signal
from collections.abc import Callable

import pytest

from gpu_cli.fleet.interrupt import interruptible, shielded

NOT_GONE = ValueError("not gone")


def shield(what: Callable[[], None]) -> None:
    with interruptible(), shielded():
        what()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_until_what_must_not_be_cut_short_is_done_and_is_obeyed_then(number: signal.Signals) -> None:
    done: list[str] = []

    def clean_up() -> None:
        os.kill(os.getpid(), number)
        done.append("all")

    with pytest.raises(KeyboardInterrupt):
        shield(clean_up)
    assert done == ["all"]


def test_what_goes_wrong_meanwhile_is_told_rather_than_the_interrupt() -> None:
    def clean_up() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise NOT_GONE

    with pytest.raises(ValueError, match="not gone"):
        shield(clean_up)


def test_without_an_interrupt_nothing_is_raised_and_the_handlers_are_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    shield(lambda: None)
    assert signal.getsignal(signal.SIGTERM) == before
