"""Wherever a supervisor is killed while it destroys what it runs on: nothing is left."""

from collections.abc import Mapping

import pytest
from emulators.cloud import Cloud
from emulators.containers import Container
from emulators.witness import Witness
from kill_account import VICTIM, Account, Count, Open, settled
from kill_points import points_of
from kill_server import PATIENCE_S

LIVES_FOR = ("--no-wait", "--ttl", "2s")
RESTARTS: Mapping[str, bool] = {"runpod": True, "vast": False}
"""Whether the cloud starts a container again whose command has ended: then nobody else is needed."""


def container(cloud: Cloud) -> Container:
    """The one that there is."""
    (found,) = [one for one in cloud.containers if one.log.ended_s is None]
    return found


def launched(world: Account) -> Container:
    """What has been ordered, and nobody but its supervisor to end it."""
    world.bring_up(VICTIM)
    world.server.kill_all()
    found = container(world.cloud)
    assert found.started.wait(PATIENCE_S)
    return found


@pytest.mark.parametrize("provider", RESTARTS)
def test_what_a_killed_supervisor_was_ending_is_ended(account: Open, count: Count, provider: str) -> None:
    world = account(provider, engine="stub", options=LIVES_FOR)
    supervised = launched(world)
    world.trap.reset()
    world.cloud.witness = world.trap
    world.trap.watch(supervised.pid)
    assert settled(lambda: world.living() == [], within_s=PATIENCE_S)
    for point in count(points_of(world.trap.calls)):
        world.cloud.witness = Witness()
        supervised = launched(world)
        world.trap.reset(point, supervised.crash)
        world.cloud.witness = world.trap
        world.trap.watch(supervised.pid)
        assert settled(lambda: world.trap.struck, within_s=PATIENCE_S), f"it never came to {point}"
        done = f"{provider}: the supervisor, killed {point}, has left {world.living()}"
        if RESTARTS[provider]:
            assert settled(lambda: world.living() == [], within_s=PATIENCE_S), done
        collected = world.run("gc", "--yes", "--json")
        assert collected.exit == 0, f"{done}: {collected}"
        assert world.living() == [], done
        assert world.on_record() == set(), done
