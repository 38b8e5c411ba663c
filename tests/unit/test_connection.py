"""The client of an engine whose endpoint comes late, or changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import deployment, make_fleet

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path
from gpu_cli.fleet.launch.connection import Connection
from gpu_cli.fleet.reach.engine_client import EngineUnreachable
from gpu_cli.fleet.reach.link import client_for
from gpu_cli.locks import Lock, released
from gpu_providers.base import Link, Secret


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path)
    yield fleet
    fleet.store.close()


def starting(fleet: Fleet, link: Link = Link.DIRECT, endpoint: str = "") -> Deployment:
    fleet.store.add(deployment(state=State.BOOTING, link=link, endpoint=endpoint))
    return fleet.store.get("gpu-tiny-1")


def test_an_endpoint_that_is_known_is_used_at_once(fleet: Fleet) -> None:
    with Connection(fleet, starting(fleet, endpoint="http://here"), Secret("key")) as connection:
        assert connection.client


def test_without_an_endpoint_there_is_no_client_and_with_it_the_record_knows_it(fleet: Fleet) -> None:
    with Connection(fleet, starting(fleet), Secret("key")) as connection:
        assert connection.client is None
        connection.reach("")
        assert connection.client is None
        connection.reach("http://1.2.3.4:30001")
        assert connection.client
        assert fleet.store.get("gpu-tiny-1").endpoint == "http://1.2.3.4:30001"


def test_another_endpoint_takes_the_place_of_the_old_one_and_the_same_one_changes_nothing(fleet: Fleet) -> None:
    with Connection(fleet, starting(fleet), Secret("key")) as connection:
        connection.reach("http://1.2.3.4:30001")
        first = connection.client
        connection.reach("http://1.2.3.4:30001")
        assert connection.client is first
        connection.reach("http://1.2.3.4:30002")
        assert connection.client is not first
        assert fleet.store.get("gpu-tiny-1").endpoint == "http://1.2.3.4:30002"


def test_a_bare_port_is_talked_to_over_tls_with_the_certificate_of_the_deployment_or_not_at_all(fleet: Fleet) -> None:
    with Connection(fleet, starting(fleet, Link.TLS), Secret("key")) as connection:
        with pytest.raises(UserError, match="certificate"):
            connection.reach("http://1.2.3.4:30001")
        fleet.certificates.create("gpu-tiny-1", fleet.clock.now())
        connection.reach("http://1.2.3.4:30001")
        assert connection.client
        assert fleet.store.get("gpu-tiny-1").endpoint == "https://1.2.3.4:30001"


def test_behind_an_ssh_server_there_is_a_client_once_the_guard_forwards_and_it_follows_the_port(fleet: Fleet) -> None:
    with (
        released(Lock(lock_path(fleet.paths))) as guard,
        Connection(fleet, starting(fleet, Link.SSH), Secret("key")) as connection,
    ):
        assert guard.try_acquire()
        connection.reach("http://127.0.0.1:8000")
        assert fleet.store.get("gpu-tiny-1").endpoint == "http://127.0.0.1:8000"
        assert connection.client is None
        fleet.store.update("gpu-tiny-1", local_port=40001)
        first = connection.client
        assert first
        assert connection.client is first
        fleet.store.update("gpu-tiny-1", local_port=40002)
        assert connection.client is not first


def test_the_port_of_the_machine_itself_is_never_talked_to_on_this_side(fleet: Fleet) -> None:
    """Something of the user's own may serve there."""
    with pytest.raises(EngineUnreachable):
        client_for(fleet, starting(fleet, Link.SSH, "http://127.0.0.1:8000"), Secret("key"))
