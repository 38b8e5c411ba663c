"""`gpu doctor` and providers that hang or break."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import make_fleet
from sellers import Seller

from gpu_cli.fleet.checkup import check_all
from gpu_cli.fleet.fleet import Fleet
from gpu_providers.base import Check


class Hanging(Seller):
    """Answers when the test is over."""

    over = threading.Event()

    def check(self) -> Sequence[Check]:
        self.over.wait(60)
        return []


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Without a network, with one sound cloud; nobody is waited for longer than a moment."""
    monkeypatch.setattr("gpu_providers.registry.available", lambda: ["sound", "odd"])
    monkeypatch.setattr("gpu_cli.fleet.checkup.PROVIDER_PATIENCE_S", 0.3)
    fleet = replace(make_fleet(tmp_path), environ={"HF_ENDPOINT": "http://127.0.0.1:9"})
    fleet._loaded.update(sound=Seller())
    return fleet


def found(fleet: Fleet) -> dict[str, Check]:
    return {check.subject: check for check in check_all(fleet)}


def test_a_provider_that_does_not_answer_holds_nobody_up(fleet: Fleet) -> None:
    hanging = Hanging()
    hanging.name = "odd"  # type: ignore[misc]  # as if it were another class
    fleet._loaded["odd"] = hanging
    began = time.monotonic()
    checks = found(fleet)
    assert time.monotonic() - began < 10
    Hanging.over.set()
    assert not checks["odd"].ok
    assert "does not answer" in checks["odd"].message
    assert checks["seller"].ok


def test_a_provider_whose_check_breaks_is_named(fleet: Fleet) -> None:
    broken = Seller(fails=ZeroDivisionError("a bug"))
    broken.name = "odd"  # type: ignore[misc]  # as if it were another class
    fleet._loaded["odd"] = broken
    checks = found(fleet)
    assert (checks["odd"].ok, checks["odd"].message) == (False, "its check failed: ZeroDivisionError: a bug")
    assert checks["seller"].ok
