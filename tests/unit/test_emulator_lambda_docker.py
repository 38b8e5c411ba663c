"""Docker and CUDA on Lambda's emulated machines do what the real ones are documented, or were seen, to do."""

import json
import socket
import time
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from driver import wait_until
from emulated_machine import Machine, Session, emulated_machine

IMAGE = "vllm/vllm-openai:v0.32.0"
CU_INIT = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
PROBE = f'docker run --rm --gpus all --entrypoint python3 {IMAGE} -c "{CU_INIT}"'
SERVE = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[-1]))"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Where nothing is wrong, and what a test leaves behind is in nobody's way."""
    with emulated_machine(engine="stub") as made:
        yield made


@pytest.fixture(scope="module")
def session(machine: Machine) -> Iterator[Session]:
    with machine.login() as session:
        yield session


def run(name: str, code: str = "import time; time.sleep(1000)", options: str = "", arguments: str = "") -> str:
    """A detached container of Python."""
    return f'docker run -d --name {name} {options} --entrypoint python3 {IMAGE} -c "{code}" {arguments}'


# Docker itself


def test_docker_is_for_root_alone(session: Session) -> None:
    refused = session("docker version")
    assert (refused.exit, refused.err.partition(" while")[0]) == (1, "permission denied")
    assert session.root("docker version").exit == 0


def test_the_cgroup_driver_is_what_its_settings_say_since_its_last_restart(machine: Machine) -> None:
    with machine.beside() as other, other.login() as session:
        drivers = [session.root("docker info -f '{{.CgroupDriver}}'").out]
        settings = json.loads(session.root("cat /etc/docker/daemon.json").out)
        settings["exec-opts"] = ["native.cgroupdriver=cgroupfs"]
        session.root("tee /etc/docker/daemon.json", json.dumps(settings))
        drivers.append(session.root("docker info -f '{{.CgroupDriver}}'").out)
        assert session("systemctl restart docker").exit == 1
        assert session.root("systemctl restart docker").exit == 0
        drivers.append(session.root("docker info -f '{{.CgroupDriver}}'").out)
    assert drivers == ["systemd\n", "systemd\n", "cgroupfs\n"]


def test_docker_does_not_start_with_settings_that_are_no_json(machine: Machine) -> None:
    with machine.beside() as other, other.login() as session:
        session.root("tee /etc/docker/daemon.json", "{,}")
        assert session.root("systemctl restart docker").err.startswith("Job for docker.service failed")
        assert session.root("docker version").err.startswith("Cannot connect to the Docker daemon")


def test_a_restart_of_docker_ends_what_runs_in_containers(machine: Machine) -> None:
    with machine.beside() as other, other.login() as session:
        session.root(run("a"))
        session.root("systemctl restart docker")
        wait_until(lambda: session.root("docker inspect -f '{{.State.Status}}' a").out == "exited\n")


# Images


def test_a_pull_tells_of_each_layer_and_is_over_at_once_when_the_image_is_there(session: Session) -> None:
    image = "vllm/vllm-openai:v0.32.0-cu129"
    absent = session.root(f"docker image inspect {image}")
    assert (absent.exit, absent.out, absent.err.strip()) == (
        1,
        "[]\n",
        f"Error response from daemon: No such image: {image}",
    )
    lines = session.root(f"docker pull {image}").out.splitlines()
    assert lines[0] == "v0.32.0-cu129: Pulling from vllm/vllm-openai"
    layer = lines[1].partition(":")[0]
    states = [line.partition(": ")[2] for line in lines if line.startswith(layer)]
    assert states == ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]
    assert lines[-2:] == [f"Status: Downloaded newer image for {image}", f"docker.io/{image}"]
    assert f"Status: Image is up to date for {image}" in session.root(f"docker pull {image}").out
    assert session.root(f"docker image inspect -f '{{{{.Architecture}}}}' {image}").out == "amd64\n"


def test_a_pull_takes_its_time_by_the_clouds_clock() -> None:
    with emulated_machine(pull_s=600.0, speed=2000.0) as machine:
        began_s = time.monotonic()
        machine.run(f"sudo docker pull {IMAGE}")
        assert time.monotonic() - began_s > 600 / 2000


def test_an_image_that_there_is_not_cannot_be_pulled(machine: Machine) -> None:
    with machine.beside({"do": "no-image", "text": "cu129"}) as other, other.login() as session:
        refused = session.root(f"docker pull {IMAGE}-cu129")
        assert (refused.exit, refused.err.strip()) == (
            1,
            "Error response from daemon: manifest for vllm/vllm-openai:v0.32.0-cu129 not found: manifest unknown: "
            "manifest unknown",
        )
        assert session.root(f"docker pull {IMAGE}").exit == 0


def test_a_run_pulls_an_image_that_is_not_there(session: Session) -> None:
    ran = session.root("docker run -d --name pulled an/other:1")
    assert ran.err.startswith("Unable to find image 'an/other:1' locally\n1: Pulling from an/other\n")


# CUDA


def test_cuda_initialises_in_a_container(session: Session) -> None:
    containers = session.root("docker ps -a --format '{{.Names}}'").out
    ran = session.root(PROBE)
    assert (ran.exit, ran.out) == (0, "0\n")
    assert session.root("docker ps -a --format '{{.Names}}'").out == containers


@pytest.mark.parametrize(("rule", "said"), [({}, "802\n"), ({"status": 3}, "3\n")], ids=["802", "other"])
def test_cuda_does_not_initialise_on_a_machine_whose_gpu_is_broken(
    machine: Machine, rule: dict[str, int], said: str
) -> None:
    with machine.beside({"do": "broken-gpu", **rule}) as other, other.login() as session:
        assert session.root(PROBE).out == said
        assert session("nvidia-smi -L").exit == 0


def test_docker_finds_gpus_once_nvidias_runtime_is_configured_and_it_is_restarted(machine: Machine) -> None:
    with machine.beside({"do": "docker-broken"}) as other, other.login() as session:
        for repair in ("true", "nvidia-ctk runtime configure --runtime=docker"):
            session.root(repair)
            refused = session.root(PROBE)
            assert refused.exit == 125
            assert 'could not select device driver "" with capabilities: [[gpu]]' in refused.err
        assert session("nvidia-ctk runtime configure --runtime=docker").exit == 1
        session.root("systemctl restart docker")
        assert session.root(PROBE).out == "0\n"


def test_a_container_whose_start_fails_stays_behind_with_its_name(machine: Machine) -> None:
    with machine.beside({"do": "docker-broken"}) as other, other.login() as session:
        assert session.root(run("a", options="--gpus all")).exit == 125
        assert session.root("docker inspect -f '{{.State.Status}}' a").out == "created\n"
        assert "Conflict" in session.root(run("a")).err


# Containers


def test_a_container_runs_until_its_command_ends_and_then_for_good(session: Session) -> None:
    started = session.root(run("ends", "import sys, time; print('hi', flush=True); time.sleep(0.3); sys.exit(3)"))
    assert (started.exit, len(started.out.strip())) == (0, 64)
    seen = [session.root("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' ends").out]
    assert session.root("docker logs -f ends").out == "hi\n"
    seen.append(session.root("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' ends").out)
    assert seen == ["running 0\n", "exited 3\n"]
    assert session.root("docker port ends").out.strip() == ""


def test_of_a_log_the_last_lines_can_be_had(session: Session) -> None:
    session.root(run("log", "print(*'abc', sep=chr(10))"))
    wait_until(lambda: session.root("docker inspect -f '{{.State.Running}}' log").out == "false\n")
    assert session.root("docker logs log").out == "a\nb\nc\n"
    assert session.root("docker logs --tail 2 log").out == "b\nc\n"


def test_a_name_is_taken_until_its_container_is_removed(session: Session) -> None:
    session.root(run("named"))
    refused = session.root(run("named"))
    assert refused.exit == 125
    assert 'The container name "/named" is already in use by container' in refused.err
    assert "container is running" in session.root("docker rm named").err
    assert session.root("docker rm -f named").exit == 0
    gone = session.root("docker inspect named")
    assert (gone.exit, gone.err.strip()) == (1, "Error response from daemon: No such object: named")
    assert session.root(run("named")).exit == 0


def test_its_environment_is_that_of_the_file_and_of_the_options_without_quotes_being_processed(
    session: Session,
) -> None:
    file = '# a comment\n\nPLAIN=a b \nQUOTED="x"\n  EMPTY=\nNOT_SET\nBOTH=file\n'
    session("cat > container.env", file)
    code = "import os; print([os.environ.get(n) for n in 'PLAIN QUOTED EMPTY NOT_SET BOTH'.split()])"
    session.root(run("env", code, "--env-file container.env -e BOTH=option"))
    wait_until(lambda: session.root("docker logs env").out)
    assert session.root("docker logs env").out == "['a b ', '\"x\"', '', None, 'option']\n"


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("A B=1\n", "variable 'A B' contains whitespaces"),
        ("=1\n", "no variable name on line '=1'"),
        ("A=" + "x" * 65_536 + "\n", "bufio.Scanner: token too long"),
        (None, "open absent: no such file or directory"),
    ],
    ids=["space", "no-name", "long", "absent"],
)
def test_an_env_file_that_docker_cannot_read_is_a_usage_error(
    session: Session, file: str | None, complaint: str
) -> None:
    if file:
        session("cat > bad.env", file)
    refused = session.root(run("bad", options=f"--env-file {'bad.env' if file else 'absent'}"))
    assert (refused.exit, refused.err.splitlines()[0]) == (125, f"docker: {complaint}")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (f"run --gpu all {IMAGE}", "docker: unknown flag: --gpu"),
        (f"run -x {IMAGE}", "docker: unknown shorthand flag: 'x' in -x"),
        ("run", "docker: 'docker run' requires at least 1 argument"),
        ("logs --folow a", "unknown flag: --folow"),
        ("inspect", "requires at least 1 argument."),
    ],
)
def test_options_that_docker_does_not_know_are_refused(session: Session, command: str, complaint: str) -> None:
    refused = session.root(f"docker {command}")
    assert (refused.exit, refused.err.splitlines()[0]) == (125, complaint)


def test_names_in_formats_that_docker_does_not_know_are_refused(session: Session) -> None:
    refused = session.root("docker info -f '{{.CgroupDrivers}}'")
    assert (refused.exit, "map has no entry for key" in refused.err) == (1, True)


@pytest.mark.parametrize("detached", ["-d --name absent", "--rm"], ids=["detached", "in-front"])
def test_a_program_that_the_image_does_not_have_cannot_be_started(session: Session, detached: str) -> None:
    refused = session.root(f"docker run {detached} --entrypoint no-such-program {IMAGE}")
    assert refused.exit == 127
    assert 'exec: "no-such-program": executable file not found in $PATH' in refused.err
    if "absent" in detached:
        assert session.root("docker inspect -f '{{.State.Status}}' absent").out == "created\n"


def test_what_is_published_on_loopback_is_reached_through_ssh_at_the_port_that_docker_tells(session: Session) -> None:
    session.root(run("web", SERVE, "--ipc=host -p 127.0.0.1:8000:8000", "--port 8000"))
    address, _, port = session.root("docker port web 8000/tcp").out.strip().partition(":")
    assert address == "127.0.0.1"

    def answer() -> bytes:
        channel = session.transport.open_channel("direct-tcpip", ("127.0.0.1", int(port)), ("127.0.0.1", 0))
        channel.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return channel.makefile("rb").read()

    wait_until(lambda: _is_listening(int(port)))
    assert answer().startswith(b"HTTP/1.0 200")


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_container_of_a_machine_is_known_to_tests(machine: Machine, session: Session) -> None:
    session.root(run("known", "print(1)"))
    assert machine.cloud.container("gpu-a").spec.id == "known"


def test_a_command_can_be_made_to_crash(machine: Machine) -> None:
    with machine.beside({"do": "crash-loop", "seconds": 0.1}) as other, other.login() as session:
        session.root(run("crash"))
        assert "Engine core failed to start" in session.root("docker logs -f crash").out
        assert session.root("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' crash").out == "exited 1\n"


def test_files_of_a_file_system_are_in_a_container_where_it_is_mounted(machine: Machine) -> None:
    mount = {"mount_point": "/data/x", "file_system_id": machine.call.made_file_system()["id"]}
    code = "import sys, pathlib; p = pathlib.Path(sys.argv[1]) / 'seen'; print(p.exists()); p.touch()"
    told = []
    for _ in range(2):
        with machine.beside(file_system_mounts=[mount]) as other, other.login() as session:
            session.root(run("disk", code, "-v /data/x:/data/x", "/data/x"))
            told.append(session.root("docker logs -f disk").out)
    assert told == ["False\n", "True\n"]


# What is public


def test_what_is_published_on_all_addresses_is_at_the_machines_own_once_its_firewall_lets_through(
    machine: Machine,
) -> None:
    ssh = {"protocol": "tcp", "port_range": [22, 22], "source_network": "0.0.0.0/0", "description": ""}
    call = machine.call
    made = call("POST", "/firewall-rulesets", {"name": "a", "region": "us-south-2", "rules": [ssh]}).json()["data"]
    with machine.beside(firewall_rulesets=[{"id": made["id"]}]) as public, public.login() as session:
        session.root(run("web", SERVE, "-p 0.0.0.0:8000:8000", "--port 8000"))
        assert session.root("docker port web 8000").out == "0.0.0.0:8000\n"
        assert "port is already allocated" in session.root(run("other", SERVE, "-p 8000:8000")).err
        url = f"http://{public.address[0]}:8000"
        wait_until(lambda: machine.cloud.container("gpu-b").port)
        with pytest.raises(OSError):
            urlopen(url, timeout=20)
        mine = {**ssh, "port_range": [8000, 8000], "source_network": "127.0.0.1/32"}
        call("PATCH", f"/firewall-rulesets/{made['id']}", {"rules": [ssh, mine]})
        with urlopen(url, timeout=20) as answer:
            assert answer.status == 200
