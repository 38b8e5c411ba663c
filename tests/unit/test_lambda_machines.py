"""What this side keeps of machines at Lambda: by whom it can be read, and that nothing of it is lost or left over."""

import dataclasses
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpu_providers.base import Secret, SshLogin
from gpu_providers.errors import InvalidRequest, ProviderUnavailable
from gpu_providers.lambda_cloud.machines import Machine, Machines

NAME = "gpu-llama-1a2b3c4d"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICN+lJwsONkwrdsSnQsu1ydUkIuIg5oOC+Eslvmtt60T"
PARCEL = Secret('{"env": "hf_secret"}')
MACHINE = Machine(
    name=NAME, identity=Path("/keys/id_ed25519"), user="ubuntu", port=22, gpu_count=8, architecture="x86_64"
)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    """With one machine, about to be launched."""
    machines = Machines(tmp_path / "state" / "machines")
    machines.prepare(MACHINE, HOST_KEY, PARCEL)
    return machines


def files(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_was_prepared_is_known_to_every_process(machines: Machines, tmp_path: Path) -> None:
    other = Machines(tmp_path / "state" / "machines")
    parcel = other.parcel(NAME)
    assert other.get(NAME) == MACHINE
    assert parcel is not None
    assert parcel.reveal() == PARCEL.reveal()


def test_only_this_user_can_read_what_is_kept(machines: Machines, tmp_path: Path) -> None:
    machines.pin(NAME, HOST_KEY)
    machines.update(NAME, met=True)
    assert machines.known_hosts(NAME).parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o600}


def test_one_logs_in_once_its_address_is_known(machines: Machines) -> None:
    assert machines.login(NAME) is None
    machines.update(NAME, address="192.0.2.7")
    assert machines.login(NAME) == SshLogin(
        "192.0.2.7", 22, "ubuntu", MACHINE.identity, machines.known_hosts(NAME), alias=NAME
    )


def test_openssh_finds_the_one_pinned_key_under_the_machines_name(machines: Machines) -> None:
    machines.pin(NAME, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOther root@lambda")
    machines.pin(NAME, f"{HOST_KEY} root@lambda\n")
    found = subprocess.run(
        ["ssh-keygen", "-F", NAME, "-f", machines.known_hosts(NAME)], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[1:] == [f"{NAME} {HOST_KEY}"]


def test_changes_made_at_once_are_all_kept(machines: Machines) -> None:
    changes = [
        {"instance_id": "1"},
        {"address": "192.0.2.7"},
        {"met": True},
        {"refused_since": 1.5},
        {"ruleset_id": "r"},
    ]
    with ThreadPoolExecutor(len(changes)) as pool:
        list(pool.map(lambda change: machines.update(NAME, **change), changes))
    expected = dataclasses.replace(
        MACHINE, instance_id="1", address="192.0.2.7", met=True, refused_since=1.5, ruleset_id="r"
    )
    assert machines.get(NAME) == expected


def test_the_parcel_is_dropped_and_the_rest_stays(machines: Machines) -> None:
    machines.drop_parcel(NAME)
    machines.drop_parcel(NAME)
    assert machines.parcel(NAME) is None
    assert machines.get(NAME) == MACHINE


def test_what_is_forgotten_leaves_no_trace(machines: Machines, tmp_path: Path) -> None:
    machines.forget(NAME)
    machines.forget(NAME)
    assert machines.get(NAME) is None
    assert machines.parcel(NAME) is None
    assert machines.login(NAME) is None
    assert files(tmp_path) == []


def test_whoever_still_sets_up_a_forgotten_machine_learns_it_and_brings_nothing_back(
    machines: Machines, tmp_path: Path
) -> None:
    machines.forget(NAME)
    with pytest.raises(ProviderUnavailable, match="nothing is known"):
        machines.update(NAME, met=True)
    with pytest.raises(ProviderUnavailable, match="nothing is known"):
        machines.pin(NAME, HOST_KEY)
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["../machines", "gpu-../../x", "", "somebody-else"])
def test_a_name_that_none_of_ours_has_reaches_no_file(name: str, machines: Machines) -> None:
    assert machines.get(name) is None
    assert machines.login(name) is None
    machines.forget(name)
    with pytest.raises(InvalidRequest):
        machines.known_hosts(name)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "gpu-a"}', "\x00"])
def test_what_cannot_be_read_is_not_known(text: str, machines: Machines) -> None:
    (machines.known_hosts(NAME).parent / "machine.json").write_text(text)
    assert machines.get(NAME) is None
    machines.forget(NAME)


@pytest.mark.parametrize(
    ("public", "service_url", "endpoint"),
    [
        (False, "", ""),
        (True, "", ""),
        (False, "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (True, "http://127.0.0.1:8000", "http://192.0.2.7:8000"),
    ],
)
def test_a_public_machine_has_an_endpoint_of_its_own_address(public: bool, service_url: str, endpoint: str) -> None:
    machine = dataclasses.replace(MACHINE, address="192.0.2.7", public=public, service_url=service_url)
    assert machine.endpoint == endpoint
