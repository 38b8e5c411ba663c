"""Lambda's emulated machines can be logged in to, and do what the real ones are documented, or were seen, to do."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import indent
from types import SimpleNamespace
from typing import Any

import paramiko
import psutil
import pytest
from driver import is_alive, wait_until
from emulated_lambda import Caller, code
from emulated_machine import KeyPair, Machine, Session, emulated_machine, new_key_pair, own_key
from emulators import process_tree
from emulators.lambda_cloud.host_keys import planted

CHECKOUT = Path(__file__).resolve().parents[2]
QUERY = "nvidia-smi --query-gpu=driver_version,name,memory.total --format=csv,noheader"
DETACHED = "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"
SSH_RULE = {"protocol": "tcp", "port_range": [22, 22], "source_network": "0.0.0.0/0", "description": "SSH"}
RULESET = {"name": "a", "region": "us-south-2", "rules": [SSH_RULE]}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Where nothing is wrong."""
    with emulated_machine() as made:
        yield made


@pytest.fixture(scope="module")
def session(machine: Machine) -> Iterator[Session]:
    with machine.login() as session:
        yield session


def host_key(machine: Machine) -> str:
    """As its SSH server tells it."""
    with machine.login() as session:
        key = session.transport.get_remote_server_key()
    return f"{key.get_name()} {key.get_base64()}"


def user_data(host_key: KeyPair) -> str:
    return f"#cloud-config\nssh_keys:\n  ed25519_private: |\n{indent(host_key.private, '    ')}"


# Sessions


def test_a_session_has_the_machines_home_and_path_and_nothing_of_this_ones(
    machine: Machine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDA_API_KEY", "sesame")
    with machine.login() as new:
        told = dict(line.split("=", 1) for line in new("env").out.splitlines())
    assert set(told) <= {
        *("HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "PWD", "SHLVL", "_", "SSH_CLIENT", "SSH_CONNECTION"),
        process_tree.MARKER,
    }
    assert (told["HOME"], told["PWD"], told["USER"]) == (str(machine.cloud.home("gpu-a")),) * 2 + ("ubuntu",)
    assert told["SSH_CONNECTION"].split()[0] == "127.0.0.1"
    assert session("command -v docker").out == f"{told['PATH'].partition(':')[0]}/docker\n"


def test_commands_get_their_input_and_tell_how_they_ended(session: Session) -> None:
    ran = session("cat; echo no >&2; exit 7", "a\nb")
    assert (ran.exit, ran.out, ran.err) == (7, "a\nb", "no\n")


def test_sudo_reads_and_writes_the_files_of_the_machine(machine: Machine, session: Session) -> None:
    session.root("mkdir -p /etc/gpu-cli-tests")
    assert session.root("tee /etc/gpu-cli-tests/a", "a b").out == "a b"
    assert session.root("cat /etc/gpu-cli-tests/a").out == "a b"
    assert not Path("/etc/gpu-cli-tests").exists()
    session("cat > own", "mine")
    assert session.root(f"cat {machine.cloud.home('gpu-a')}/own").out == "mine"


def test_what_is_detached_outlives_its_connection(machine: Machine, session: Session) -> None:
    machine.run("(sleep 0.3; echo done > late) >/dev/null 2>&1 </dev/null &")
    wait_until(lambda: session("cat late").out == "done\n")


def test_cloud_init_is_done_when_somebody_can_ask(session: Session) -> None:
    assert session("cloud-init status --wait").out == "status: done\n"


# Who gets in


def test_only_the_key_of_the_launch_gets_in(machine: Machine) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        machine.run("true", key=new_key_pair())
    assert machine.run("true").exit == 0


def test_its_host_key_is_the_one_of_the_user_data(machine: Machine) -> None:
    key = new_key_pair()
    with machine.beside(user_data=user_data(key)) as other:
        assert host_key(other) == key.public


def test_without_one_in_the_user_data_it_makes_its_own(machine: Machine) -> None:
    with machine.beside(user_data="#!/bin/sh\n") as other:
        assert host_key(other) != host_key(machine)


@pytest.mark.parametrize("text", ["", "#!/bin/sh\n", "#cloud-config\n{", "#cloud-config\n[]\n", "#cloud-config\n"])
def test_user_data_without_a_host_key_plant_none(text: str) -> None:
    assert planted(text) == ""


def test_user_data_that_do_not_say_what_they_are_plant_none() -> None:
    assert planted(user_data(own_key())[1:]) == ""


def test_what_the_user_data_say_of_host_keys_may_count_for_nothing(machine: Machine) -> None:
    key = new_key_pair()
    with machine.beside({"do": "plants-no-host-key"}, user_data=user_data(key)) as other:
        assert host_key(other) != key.public


def test_a_host_key_may_change(machine: Machine) -> None:
    with machine.beside() as other:
        before = host_key(other)
        machine.cloud.change_host_key("gpu-b")
        assert host_key(other) != before


def test_nothing_listens_before_it_is_up_and_then_it_may_let_nobody_in_for_a_while() -> None:
    with emulated_machine(boot_s=3000, auth_late_s=6000.0) as machine:
        machine.cloud.clock.advance(2000)
        with pytest.raises(ConnectionRefusedError):
            machine.run("true")
        machine.cloud.clock.advance(2000)
        wait_until(lambda: machine.call.instance(machine.id)["status"] == "active")
        with pytest.raises(paramiko.AuthenticationException):
            machine.run("true")
        machine.cloud.clock.advance(6000)
        machine.call.instance(machine.id)
        assert machine.run("true").exit == 0


def test_a_rule_may_make_it_let_nobody_in_for_a_while(machine: Machine) -> None:
    late = {"do": "auth-late", "seconds": 6000}
    with machine.beside(late) as other, pytest.raises(paramiko.AuthenticationException):
        other.run("true")


# How connections end


def test_connections_can_be_dropped_and_what_is_detached_goes_on(machine: Machine) -> None:
    with machine.beside() as other, other.login() as session:
        session(f"{DETACHED} echo $! > pid")
        machine.cloud.drop_ssh("gpu-b")
        wait_until(lambda: not session.transport.is_active())
        assert other.run("kill -0 $(cat pid)").exit == 0


def test_a_machine_is_taken_away_at_once_with_all_that_is_on_it(machine: Machine) -> None:
    with machine.beside() as other, other.login() as session:
        home, address = machine.cloud.home("gpu-b"), other.address
        session(DETACHED)
        session.transport.open_session().exec_command("sleep 1000")
        wait_until(lambda: len(_names(home.parent)) >= 2)
        machine.call.terminate(other.id)
        wait_until(lambda: not session.transport.is_active())
        assert _names(home.parent) == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


def _names(folder: Path) -> list[str]:
    return [process.name() for process in process_tree.members(folder) if process.name() == "sleep"]


def test_an_instance_bills_whatever_runs_on_it(machine: Machine) -> None:
    machine.run("sudo docker run -d --name a an/image")
    machine.cloud.clock.advance(3600)
    assert machine.cloud.bill()["resources"][0]["alive"]


def test_nothing_on_a_machine_outlives_an_emulator_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.emulators", "lambda", "--engine", "stub", "--speed", "1000"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout
            session = Session(_by_hand(json.loads(process.stdout.readline())).transport())
            detached = psutil.Process(int(session(f"{DETACHED} echo $!").out))
            session("sudo docker run -d --entrypoint python3 an/image -c 'import time; time.sleep(1000)'")
            session.transport.open_session().exec_command("sudo docker logs -f nameless")
            servers = [one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == "sshd"]
            assert servers
        finally:
            process.kill()
    wait_until(lambda: not any(process_tree.members(tmp_path)) and not any(tmp_path.iterdir()))
    wait_until(lambda: not any(map(is_alive, [detached, *servers])))


def _by_hand(told: Mapping[str, Any]) -> Machine:
    """One of an emulator in another process."""
    cloud: Any = SimpleNamespace(url=told["url"], env=told["env"], key=told["env"]["LAMBDA_API_KEY"])
    call = Caller(cloud)
    call("POST", "/ssh-keys", {"name": "mine", "public_key": own_key().public})
    machine = Machine(call, call.launched())
    wait_until(lambda: call.instance(machine.id)["status"] == "active")
    return machine


# GPUs


@pytest.mark.parametrize(
    ("type_name", "region", "architecture", "gpus"),
    [
        ("gpu_1x_h100_sxm5", "us-south-2", "x86_64", ["580.105.08, NVIDIA H100 80GB HBM3, 81559 MiB"]),
        ("gpu_8x_a100", "us-west-2", "x86_64", ["580.105.08, NVIDIA A100-SXM4-40GB, 40960 MiB"] * 8),
        ("gpu_1x_gh200", "us-east-3", "aarch64", ["580.105.08, NVIDIA GH200 480GB, 97871 MiB"]),
    ],
)
def test_its_gpus_and_its_processor_are_those_of_its_type(
    machine: Machine, type_name: str, region: str, architecture: str, gpus: list[str]
) -> None:
    with machine.beside(instance_type_name=type_name, region_name=region) as other, other.login() as session:
        assert session(QUERY).out.splitlines() == gpus
        assert session("uname -m").out.strip() == architecture
        assert len(session("nvidia-smi -L").out.splitlines()) == len(gpus)


def test_nvidia_smi_names_fields_that_it_does_not_know(session: Session) -> None:
    refused = session("nvidia-smi --query-gpu=colour --format=csv")
    assert (refused.exit, refused.err.splitlines()[0]) == (2, 'Field "colour" is not a valid field to query.')
    assert session("nvidia-smi --query-gpu=memory.total --format=csv,nounits").out == "memory.total\n81559\n"


def test_a_machine_without_gpus_has_no_nvidia_smi(machine: Machine) -> None:
    with machine.beside(instance_type_name="cpu_4x_general", region_name="us-east-1") as other:
        assert other.run("nvidia-smi").exit == 127


@pytest.mark.parametrize(("rule", "driver"), [({}, "570.148.08"), ({"text": "550.90.07"}, "550.90.07")])
def test_a_machine_may_have_an_older_driver(machine: Machine, rule: dict[str, str], driver: str) -> None:
    with machine.beside({"do": "old-driver", **rule}) as other:
        assert other.run(QUERY).out.startswith(f"{driver}, ")


def test_a_rule_about_a_place_leaves_machines_elsewhere_alone(machine: Machine) -> None:
    with (
        machine.beside({"do": "old-driver", "gpu": "us-south-3"}) as here,
        machine.beside(region_name="us-south-3") as there,
    ):
        assert [one.run(QUERY).out[:3] for one in (here, there)] == ["580", "570"]


# Firewall rulesets


def test_a_ruleset_is_made_changed_and_deleted(machine: Machine) -> None:
    call = machine.call
    made = call("POST", "/firewall-rulesets", RULESET).json()["data"]
    assert (made["region"]["name"], made["rules"], made["instance_ids"]) == ("us-south-2", [SSH_RULE], [])
    path = f"/firewall-rulesets/{made['id']}"
    assert call("PATCH", path, {"rules": []}).json()["data"] == {**made, "rules": []}
    assert call.data("/firewall-rulesets") == [call.data(path)]
    assert call("DELETE", path).json() == {"data": {}}
    for method in ("GET", "PATCH", "DELETE"):
        assert code(call(method, path, {})) == (404, "global/object-does-not-exist")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x" * 65},
        {"region": "us-east-9"},
        {"rules": [{**SSH_RULE, "protocol": "ssh"}]},
        {"rules": [{**SSH_RULE, "port_range": [22]}]},
        {"rules": [{**SSH_RULE, "port_range": [0, 22]}]},
        {"rules": [{**SSH_RULE, "protocol": "icmp"}]},
        {"rules": [{**SSH_RULE, "source_network": "me"}]},
        {"rules": [{**SSH_RULE, "source_network": "::1/128"}]},
        {"rules": [{**SSH_RULE, "description": "x" * 129}]},
        {"rules": [{"protocol": "tcp"}]},
        {"rules": None},
    ],
    ids=str,
)
def test_a_ruleset_that_is_none_is_refused(machine: Machine, change: dict[str, Any]) -> None:
    assert code(machine.call("POST", "/firewall-rulesets", {**RULESET, **change})) == (400, "global/invalid-parameters")


def test_a_ruleset_stays_with_its_instance_and_cannot_be_deleted_before(machine: Machine) -> None:
    call = machine.call
    id_ = call("POST", "/firewall-rulesets", RULESET).json()["data"]["id"]
    with machine.beside({"do": "delete-lag", "seconds": 6000}, firewall_rulesets=[{"id": id_}]) as other:
        assert call.instance(other.id)["firewall_rulesets"] == [{"id": id_}]
        assert call.data(f"/firewall-rulesets/{id_}")["instance_ids"] == [other.id]
    refused = call("DELETE", f"/firewall-rulesets/{id_}")
    assert code(refused) == (400, "firewall-rulesets/firewall-ruleset-in-use")
    machine.cloud.clock.advance(6000)
    assert call("DELETE", f"/firewall-rulesets/{id_}").status_code == 200


def test_a_launch_with_a_ruleset_that_it_cannot_have_is_refused(machine: Machine) -> None:
    call = machine.call
    assert code(call.launch(firewall_rulesets=[{"id": "0" * 32}])) == (400, "global/object-does-not-exist")
    id_ = call("POST", "/firewall-rulesets", {**RULESET, "region": "us-east-1"}).json()["data"]["id"]
    assert code(call.launch(firewall_rulesets=[{"id": id_}])) == (400, "global/invalid-parameters")
    assert code(call.launch(firewall_rulesets=[id_])) == (400, "global/invalid-parameters")


def test_without_a_rule_for_it_ssh_does_not_get_through(machine: Machine) -> None:
    call = machine.call
    id_ = call("POST", "/firewall-rulesets", {**RULESET, "rules": []}).json()["data"]["id"]
    with machine.beside(firewall_rulesets=[{"id": id_}]) as closed:
        with pytest.raises((OSError, EOFError, paramiko.SSHException)):
            closed.run("true")
        call("PATCH", f"/firewall-rulesets/{id_}", {"rules": [SSH_RULE]})
        assert closed.run("true").exit == 0
