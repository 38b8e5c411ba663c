"""An account at any emulated cloud, for who kills what acts on it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from emulators.cloud import Cloud
from emulators.lambda_cloud import LambdaEmulator
from emulators.modal_cloud import ModalEmulator
from emulators.openapi import Conformance
from emulators.runpod import RunPodEmulator
from emulators.vast import VastEmulator
from kill_account import Account, Count, Open
from kill_server import PLANT

NEVER_S = 1e9
CLOUDS: Mapping[str, Callable[[str], Cloud]] = {
    "runpod": lambda engine: RunPodEmulator(engine=engine, boot_s=0.1),
    "vast": lambda engine: VastEmulator(engine=engine, boot_s=0.1),
    # What happens on its machines costs more than all the rest, and leaves nothing: they never come up here.
    "lambda": lambda engine: LambdaEmulator(engine=engine, boot_s=NEVER_S),
    "modal": lambda engine: ModalEmulator(engine=engine),
}
OPTIONS: Mapping[str, Sequence[str]] = {"lambda": ("--no-wait", "--ttl", "1h")}
ENVIRON = {"MODAL_MAX_THROTTLE_WAIT": "10"}
"""Commands set it, and find a guard wanting that was forked from what had none."""
POLL_S = "0.05"


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens one at that cloud."""
    monkeypatch.setattr("emulators.runpod.logs.KEEPALIVE_S", 0.05)
    monkeypatch.setattr("emulators.vast.logs.UPLOAD_S", 0.05)
    with ExitStack() as opened:

        def open_at(provider: str, *, plant: str = "", engine: str = "pretend", options: Sequence[str] = ()) -> Account:
            cloud = opened.enter_context(CLOUDS[provider](engine))
            cloud.conformance = Conformance()  # others look at that
            environ = {**os.environ, **ENVIRON, f"GPU_{provider.upper()}_POLL_S": POLL_S, PLANT: plant}
            up = (*OPTIONS.get(provider, ()), *options)
            world = Account(cloud, provider, tmp_path / f"{provider}-{plant}", environ, up=up)
            return opened.enter_context(world)

        yield open_at


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Has it told at the end of all tests how many points there were."""

    def counted(points: Sequence[Any]) -> Sequence[Any]:
        record_property("kill points", len(points))
        return points

    return counted
