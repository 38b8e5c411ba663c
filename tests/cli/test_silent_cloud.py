"""A cloud that accepts connections and never answers holds nobody up, and its row says so."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from driver import Gpu

from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.market.ask_all import LAST_ONE_S, PATIENCE_S
from gpu_cli.fleet.store import Store
from overhead import ended

BUSY_S = 8.0
"""What a machine that is busy with other tests may take besides."""


@pytest.fixture
def silent(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """RunPod, until the program is ended."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        monkeypatch.setenv("GPU_RUNPOD_API_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("RUNPOD_API_KEY", "rpa_canary")
        yield


@pytest.fixture
def on_record(gpu: Gpu) -> None:
    """One there and one here, of which this machine knows that it is gone."""
    now = time.time()
    lives = {"state": State.READY, "ended_at": None, "deadline_at": now + 3600, "reason": ""}
    times = dict.fromkeys(("created_at", "launched_at", "ready_at", "active_at"), now)
    store = Store(gpu.home / "state" / "gpu.db").open()
    for provider in ("runpod", "local"):
        made = replace(ended(provider, now), provider=provider, resource_id="an-id", tied=False, **lives, **times)
        store.add(made)
    store.close()


def test_ls_shows_what_a_silent_cloud_has_as_it_is_on_record(gpu: Gpu, silent: None, on_record: None) -> None:
    began = time.monotonic()
    ran = gpu("ls")
    assert time.monotonic() - began < LAST_ONE_S + BUSY_S
    assert ran.exit == 0, ran.stderr
    rows = {line.split()[0]: line for line in ran.stdout.splitlines() if line}
    assert "ready (not answered)" in rows["runpod"]
    assert "ended outside gpu" in rows["local"]
    assert "runpod does not answer: shown as it was last seen" in ran.stderr


def test_offers_of_the_others_come_although_one_is_silent(gpu: Gpu, silent: None) -> None:
    began = time.monotonic()
    ran = gpu("offers", "--json")
    assert time.monotonic() - began < PATIENCE_S + BUSY_S
    assert ran.exit == 0, ran.stderr
    assert ran.json["offers"]
    told = ran.json["providers"]
    assert (told["runpod"]["ok"], told["local"]["ok"]) == (False, True)
    assert "does not answer" in told["runpod"]["error"]
