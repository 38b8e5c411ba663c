import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from a_sshd import HAS_SSHD, USER, Sshd
from driver import PATIENCE_S, Gpu, is_alive, wait_until
from fleets import deployment, make_fleet
from machines_plugin import install, know
from tls_engine import TlsEngine

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.certificates import Certificates
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import version_path
from gpu_cli.fleet.launch.connection import Connection
from gpu_cli.fleet.reach.engine_client import EngineRefused, EngineUnreachable
from gpu_cli.fleet.reach.forwarding import Forwarding
from gpu_cli.fleet.reach.link import await_forwarder, client_for, reached_at
from gpu_cli.fleet.store import Store
from gpu_cli.paths import Paths
from gpu_providers.base import Link, Secret, SshLogin

NAME = "gpu-tiny-1"
KEY = Secret("sk-gpu-secret")

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
"""A guard outlives what has started it, which here is the test itself."""


@pytest.fixture
def fleet(home: Path) -> Iterator[Fleet]:
    """That of a real guard, too, which is ended at the end."""
    paths = Paths(home / "config", home / "state", home / "cache")
    with closing(Store(paths.state / "gpu.db").open()) as store:
        yield Fleet(paths, dict(os.environ), store, Clock())
        for guard in guards(home):
            with suppress(psutil.NoSuchProcess):
                guard.kill()
                guard.wait(PATIENCE_S)


def guards(home: Path) -> list[psutil.Process]:
    """Those of this home: the one at work, and those that see their last connections off."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GPU_HOME") == str(home) and "gpu_cli.fleet.guard" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def engine(fleet: Fleet) -> Iterator[TlsEngine]:
    """What the one deployment on record is, with a key and a certificate on this machine."""
    pem = fleet.certificates.create(NAME, time.time() + 3600)
    fleet.keys.create(NAME)
    with TlsEngine(pem) as engine:
        made = deployment(link=Link.TLS, endpoint=engine.url, resource_id="")
        hour = time.time() + 3600
        fleet.store.add(
            replace(made, created_at=time.time(), launched_at=time.time(), active_at=time.time(), deadline_at=hour)
        )
        yield engine


def here(fleet: Fleet) -> Deployment:
    return fleet.store.get(NAME)


def pid_of_guard(fleet: Fleet) -> int:
    return int(version_path(fleet.paths).read_text().split()[0])


def kill_guard(fleet: Fleet) -> None:
    process = psutil.Process(pid_of_guard(fleet))
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)


def health(deployment: Deployment) -> bytes:
    """Through the forwarder."""
    with closing(HTTPConnection("127.0.0.1", deployment.local_port, timeout=20)) as client:
        client.request("GET", "/health")
        return client.getresponse().read()


@pytest.mark.parametrize(
    ("link", "endpoint", "reached"),
    [
        (Link.DIRECT, "http://203.0.113.7:41000", "http://203.0.113.7:41000"),
        (Link.DIRECT, "https://abc.proxy.example", "https://abc.proxy.example"),
        (Link.TLS, "http://203.0.113.7:41000", "https://203.0.113.7:41000"),
        (Link.TLS, "https://203.0.113.7:41000", "https://203.0.113.7:41000"),
        (Link.TLS, "", ""),
        (Link.SSH, "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_a_bare_port_is_reached_over_tls(link: Link, endpoint: str, reached: str) -> None:
    assert reached_at(link, endpoint) == reached


def test_a_client_speaks_to_the_engine_that_has_the_certificate(fleet: Fleet, engine: TlsEngine) -> None:
    as_told = replace(here(fleet), endpoint=engine.url.replace("https", "http"))
    with client_for(fleet, as_told, KEY) as client:
        assert client.is_healthy()
    assert b"/health" in engine.heard


def test_a_client_sends_nothing_to_a_man_in_the_middle(fleet: Fleet, engine: TlsEngine, tmp_path: Path) -> None:
    copied = Certificates(tmp_path / "theirs").create(NAME, time.time() + 3600)
    with TlsEngine(copied) as other, client_for(fleet, replace(here(fleet), endpoint=other.url), KEY) as client:
        with pytest.raises(EngineUnreachable):
            client.models()
        assert (other.met, bytes(other.heard)) == (1, b"")


def test_a_client_of_a_pinned_engine_uses_no_proxy(
    fleet: Fleet, engine: TlsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with client_for(fleet, here(fleet), KEY) as client, pytest.raises(EngineRefused):
        client.models()


def test_without_the_certificate_there_is_no_client_and_no_forwarder(fleet: Fleet, engine: TlsEngine) -> None:
    fleet.certificates.forget(NAME)
    for reach in (lambda: client_for(fleet, here(fleet), KEY), lambda: await_forwarder(fleet, here(fleet))):
        with pytest.raises(UserError, match="certificate of tiny is not on this machine") as error:
            reach()
        assert error.value.exit_status is Exit.CREDENTIALS
    assert engine.met == 0


def test_a_direct_link_is_waited_for_by_nobody(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path)
    with closing(fleet.store):
        assert await_forwarder(fleet, deployment()) == deployment()
    assert not version_path(fleet.paths).exists()


def test_the_guard_forwards_to_what_is_reached_over_tls_and_after_a_kill_on_the_same_port_again(
    fleet: Fleet, engine: TlsEngine
) -> None:
    first = await_forwarder(fleet, here(fleet))
    assert health(first) == b"ok"
    assert here(fleet).local_port == first.local_port
    assert first.base_url == f"http://127.0.0.1:{first.local_port}/v1"
    kill_guard(fleet)
    with pytest.raises(ConnectionRefusedError):
        health(first)
    again = await_forwarder(fleet, here(fleet))
    assert again.local_port == first.local_port
    assert health(again) == b"ok"


def test_an_engine_that_moves_is_followed(fleet: Fleet, engine: TlsEngine) -> None:
    reached = await_forwarder(fleet, here(fleet))
    with TlsEngine(engine.pem) as moved:
        fleet.store.update(NAME, endpoint=moved.url)

        def has_moved() -> bool:
            health(reached)
            return b"GET /health" in moved.heard

        wait_until(has_moved)
    assert here(fleet).local_port == reached.local_port


def test_when_another_program_has_taken_the_port_the_guard_says_so_and_takes_a_new_one(
    fleet: Fleet, engine: TlsEngine
) -> None:
    first = await_forwarder(fleet, here(fleet))
    kill_guard(fleet)
    with socket.create_server(("127.0.0.1", first.local_port or 0)) as taken:
        again = await_forwarder(fleet, here(fleet))
        assert again.local_port not in (None, first.local_port)
        assert health(again) == b"ok"
        taken.settimeout(0.1)
        with pytest.raises(TimeoutError):  # nobody has taken it for the forwarder
            taken.accept()
    assert "is taken by another program" in (fleet.paths.state / "logs" / "guard.log").read_text()


def test_a_guard_that_hands_over_sees_its_connections_through(
    fleet: Fleet, engine: TlsEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.paced = True
    first = await_forwarder(fleet, here(fleet))
    with closing(HTTPConnection("127.0.0.1", first.local_port, timeout=20)) as client:
        client.request("GET", "/stream/token/2")
        response = client.getresponse()
        engine.go.release()
        assert response.readline() == b"token-0\n"
        # A command that reaches another cloud needs a guard that reaches it too.
        old = pid_of_guard(fleet)
        reaching = replace(fleet, environ={**fleet.environ, "RUNPOD_API_KEY": "rpa_1"})
        again = await_forwarder(reaching, here(fleet))
        assert pid_of_guard(fleet) != old
        assert again.local_port == first.local_port
        assert health(again) == b"ok"
        engine.go.release()
        assert response.read() == b"token-1\n"
    wait_until(lambda: old not in [process.pid for process in guards(home)])


def test_url_env_and_wait_bring_a_dead_forwarder_back_on_the_same_port_and_a_chat_goes_through_it(
    gpu: Gpu, fleet: Fleet, engine: TlsEngine
) -> None:
    told = gpu("url")
    assert told.exit == 0, told.stderr
    base_url = told.stdout.strip()
    for command, answer in (("env", f"OPENAI_BASE_URL={base_url}\n"), ("wait", f"{base_url}\n"), ("url", base_url)):
        gpu.kill_guard()
        again = gpu(command)
        assert again.exit == 0, again.stderr
        assert answer in again.stdout
        assert health(here(fleet)) == b"ok"
    assert gpu("chat", "-m", "hello").stdout == "tiny\n"


def test_an_end_is_forwarded_to_no_more(fleet: Fleet, engine: TlsEngine) -> None:
    reached = await_forwarder(fleet, here(fleet))
    ending = fleet.store.move(here(fleet), State.TERMINATING, at=time.time())
    fleet.store.move(ending, State.GONE, at=time.time(), ended_at=time.time())

    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", reached.local_port)) != 0

    wait_until(refused)
    with pytest.raises(UserError, match="does not forward to tiny, which is gone"):
        await_forwarder(fleet, reached)


def test_one_that_has_ended_when_the_guard_comes_to_it_is_no_trouble(fleet: Fleet, engine: TlsEngine) -> None:
    known = here(fleet)
    fleet.certificates.forget(NAME)
    with closing(Forwarding(fleet)) as forwarding:
        forwarding.stand(known)
    assert here(fleet).local_port is None


@pytest.fixture
def served() -> Iterator[TlsEngine]:
    """On the machine's own loopback."""
    with TlsEngine(None) as engine:
        yield engine


@pytest.fixture
def machine(fleet: Fleet, served: TlsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """That of the one deployment on record."""
    if not HAS_SSHD:
        pytest.skip("needs an SSH server (openssh-server)")
    install(tmp_path / "plugin", monkeypatch)
    fleet.environ.update(os.environ)
    fleet.keys.create(NAME)
    with Sshd(tmp_path / "sshd", {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}) as sshd:
        (tmp_path / "known_hosts").write_text(f"{NAME} {sshd.host_key}\n")
        login = SshLogin("127.0.0.1", sshd.port, USER, sshd.identity, tmp_path / "known_hosts", NAME)
        know(tmp_path / "plugin", NAME, login)
        now = time.time()
        made = deployment(provider="machines", link=Link.SSH, endpoint=served.url, resource_id="")
        fleet.store.add(replace(made, created_at=now, launched_at=now, active_at=now, deadline_at=now + 3600))
        yield sshd


def tunnels(home: Path) -> list[psutil.Process]:
    return [child for guard in guards(home) for child in guard.children() if child.name() == "ssh"]


def test_the_guard_forwards_through_ssh_and_when_it_is_killed_its_tunnel_ends_and_the_next_one_has_the_same_port(
    fleet: Fleet, machine: Sshd, home: Path
) -> None:
    first = await_forwarder(fleet, here(fleet))
    assert first.base_url == f"http://127.0.0.1:{first.local_port}/v1"
    assert health(first) == b"ok"
    with client_for(fleet, first, KEY) as client:
        assert client.is_healthy()
    (tunnel,) = tunnels(home)
    kill_guard(fleet)
    wait_until(lambda: not is_alive(tunnel))
    again = await_forwarder(fleet, here(fleet))
    assert again.local_port == first.local_port
    assert health(again) == b"ok"


def test_without_the_program_ssh_the_guard_says_so(fleet: Fleet, machine: Sshd) -> None:
    await_forwarder(replace(fleet, environ={**fleet.environ, "PATH": "/nowhere"}), here(fleet))
    said = "gpu-tiny-1 cannot be reached without the program `ssh`: No such file or directory"
    log = fleet.paths.state / "logs" / "guard.log"
    wait_until(lambda: said in log.read_text())


def test_without_a_login_to_its_machine_there_is_no_forwarder(fleet: Fleet, machine: Sshd, tmp_path: Path) -> None:
    (tmp_path / "plugin" / NAME).unlink()
    with pytest.raises(UserError, match="the SSH key of tiny is not on this machine") as error:
        await_forwarder(fleet, here(fleet))
    assert error.value.exit_status is Exit.CREDENTIALS
    with closing(Forwarding(fleet)) as forwarding:
        forwarding.stand(here(fleet))
    assert here(fleet).local_port is None


def test_a_connection_brings_a_dead_guard_back(fleet: Fleet, machine: Sshd) -> None:
    """While `gpu up` waits for the engine, nothing else would."""
    await_forwarder(fleet, here(fleet))
    with Connection(fleet, here(fleet), KEY) as connection:
        assert connection.client
        kill_guard(fleet)

        def is_healthy() -> bool:
            return connection.client is not None and connection.client.is_healthy()

        wait_until(is_healthy)


def test_a_guard_that_hands_over_does_not_wait_for_a_client_of_its_own(
    fleet: Fleet, machine: Sshd, served: TlsEngine, home: Path
) -> None:
    await_forwarder(fleet, here(fleet))
    old = pid_of_guard(fleet)
    wait_until(lambda: b"GET /metrics" in served.heard)  # it asks what work there is, through its own forwarder
    await_forwarder(replace(fleet, environ={**fleet.environ, "RUNPOD_API_KEY": "rpa_1"}), here(fleet))
    wait_until(lambda: old not in [process.pid for process in guards(home)], 15)
