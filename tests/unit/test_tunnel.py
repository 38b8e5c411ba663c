"""Through a real SSH server on loopback, by the system's `ssh`."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import psutil
import pytest
from a_sshd import HAS_SSHD, USER, Sshd, free_port, make_key
from driver import PATIENCE_S, is_alive, wait_until
from tls_engine import TlsEngine

from gpu_cli.fleet.reach.forwarders import Forwarders
from gpu_cli.fleet.reach.ssh_command import ssh_command
from gpu_cli.fleet.reach.tunnel import Tunnel
from gpu_providers.base import SshLogin

NAME = "gpu-tiny-1"

pytestmark = pytest.mark.skipif(not HAS_SSHD, reason="needs an SSH server (openssh-server)")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """The machine's."""
    with Sshd(tmp_path / "sshd", {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}) as sshd:
        yield sshd


@pytest.fixture
def login(sshd: Sshd, tmp_path: Path) -> SshLogin:
    """With paths such as macOS has, and worse."""
    identity, known_hosts = tmp_path / "the key (100%h)", tmp_path / "known hosts"
    identity.write_text(sshd.identity.read_text())
    identity.chmod(0o600)
    known_hosts.write_text(f"{NAME} {sshd.host_key}\n")
    return SshLogin("127.0.0.1", sshd.port, USER, identity, known_hosts, NAME)


@pytest.fixture
def engine() -> Iterator[TlsEngine]:
    """On the machine's own loopback."""
    with TlsEngine(None) as engine:
        yield engine


@pytest.fixture
def forwarders() -> Iterator[Forwarders]:
    with closing(Forwarders().start()) as forwarders:
        yield forwarders


Stand = Callable[..., int]


@pytest.fixture
def stand(forwarders: Forwarders, login: SshLogin, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Forward to a URL of the machine, logging in as is said at that moment; on which port that is."""
    monkeypatch.setattr("gpu_cli.fleet.reach.tunnel.LONGEST_PAUSE_S", 0.2)

    def stand(url: str, ask: Callable[[], SshLogin | None] = lambda: login, **settings: int) -> int:
        return forwarders.stand(NAME, url, lambda: Tunnel(NAME, ask, **settings), None)

    return stand


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are told soon."""
    monkeypatch.setattr("gpu_cli.fleet.reach.tunnel.CONNECT_DEADLINE_S", 0.3)


def connect(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=20)


def get(port: int, path: str = "/health") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    with closing(connect(port)) as client:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read()


def told(port: int) -> str:
    """What a client is told when it does not get through; empty when it does."""
    status, text = get(port)
    return str(json.loads(text)["error"]["message"]) if status == 502 else ""


def tunnels(parent: psutil.Process | None = None) -> list[psutil.Process]:
    """Every `ssh` of this process, those that have ended and were not waited for included."""
    return [child for child in (parent or psutil.Process()).children() if child.name() == "ssh"]


def sessions(sshd: Sshd) -> list[psutil.Process]:
    """The processes of its connections, and its own last."""
    (server,) = [
        one.pid for one in psutil.net_connections("tcp") if one.laddr[1] == sshd.port and one.status == "LISTEN"
    ]
    return [*psutil.Process(server).children(recursive=True), psutil.Process(server)]


def test_a_request_comes_to_the_engine_and_its_answer_back(stand: Stand, engine: TlsEngine) -> None:
    assert get(stand(engine.url)) == (200, b"ok")


def test_large_bodies_pass_unchanged_both_ways(stand: Stand, engine: TlsEngine) -> None:
    body = random.Random(5).randbytes(10_000_000)
    with closing(connect(stand(engine.url))) as client:
        client.request("POST", "/echo", body)
        answer = client.getresponse().read()
    assert hashlib.sha256(answer).digest() == hashlib.sha256(body).digest()


def test_tokens_pass_one_by_one_as_they_are_made(stand: Stand, engine: TlsEngine) -> None:
    engine.paced = True
    with closing(connect(stand(engine.url))) as client:
        client.request("GET", "/stream/token/20")
        response = client.getresponse()
        for number in range(20):
            engine.go.release()
            assert response.readline() == f"token-{number}\n".encode()


def test_sixty_four_streams_at_once_lose_nothing(stand: Stand, engine: TlsEngine) -> None:
    port = stand(engine.url)
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda number: get(port, f"/stream/s{number}/200")[1], range(64)))
    assert answers == ["".join(f"s{of}-{number}\n" for number in range(200)).encode() for of in range(64)]


def test_hundreds_of_clients_get_through_also_when_they_come_faster_than_they_are_taken(
    stand: Stand, engine: TlsEngine
) -> None:
    port = stand(engine.url)
    get(port)
    (tunnel,) = tunnels()
    tunnel.suspend()
    clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(300)]
    for client in clients:
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
    time.sleep(0.3)
    tunnel.resume()
    assert all(client.recv(1000).startswith(b"HTTP/1.1 200") for client in clients)
    for client in clients:
        client.close()


def test_the_shell_of_the_machine_may_take_its_time(stand: Stand, engine: TlsEngine, sshd: Sshd) -> None:
    """What it reads at its start may do anything."""
    (sshd.folder / "session").write_text("#!/bin/sh\nexec cat > /dev/null\n")
    assert get(stand(engine.url)) == (200, b"ok")


def test_the_engine_learns_that_a_client_has_gone(stand: Stand, engine: TlsEngine) -> None:
    client = connect(stand(engine.url))
    client.request("GET", "/endless")
    assert client.getresponse().readline() == b"token\n"
    client.close()
    assert engine.hung_up.wait(PATIENCE_S)


def test_a_connection_that_was_cut_is_made_again_and_a_client_that_comes_meanwhile_waits(
    stand: Stand, engine: TlsEngine, sshd: Sshd
) -> None:
    port = stand(engine.url)
    assert get(port)[0] == 200
    (before,) = tunnels()
    sessions(sshd)[0].kill()
    wait_until(lambda: not is_alive(before))
    assert get(port) == (200, b"ok")
    (after,) = tunnels()
    assert after != before


def test_a_stream_that_is_cut_short_ends_as_one(stand: Stand, engine: TlsEngine, sshd: Sshd) -> None:
    engine.paced = True
    with closing(connect(stand(engine.url))) as client:
        client.request("GET", "/stream/token/2")
        response = client.getresponse()
        engine.go.release()
        assert response.readline() == b"token-0\n"
        sshd.stop()
        with pytest.raises(IncompleteRead):
            response.read()
    engine.go.release()


def test_a_machine_that_has_moved_is_followed(stand: Stand, engine: TlsEngine, sshd: Sshd, login: SshLogin) -> None:
    logins = [login]
    port = stand(engine.url, lambda: logins[-1])
    assert get(port)[0] == 200
    sshd.stop()
    sshd.port = free_port()
    sshd.start()
    logins.append(replace(login, port=sshd.port))
    assert get(port) == (200, b"ok")


def test_an_engine_that_has_moved_to_another_port_is_followed_by_one_tunnel(stand: Stand, engine: TlsEngine) -> None:
    port = stand(engine.url)
    assert get(port)[0] == 200
    with TlsEngine(None) as moved:
        assert stand(moved.url) == port
        wait_until(lambda: get(port)[0] == 200 and moved.met)
        assert len(tunnels()) == 1


def test_another_host_key_is_refused_and_nothing_is_sent_to_it(
    stand: Stand, engine: TlsEngine, sshd: Sshd, impatient: None
) -> None:
    sshd.stop()
    sshd.change_host_key()
    sshd.start()
    port = stand(engine.url)
    said = f"what answers at 127.0.0.1:{sshd.port} does not have the host key of gpu-tiny-1: nothing was sent to it"
    wait_until(lambda: told(port) == said)
    assert engine.met == 0
    assert "userauth-request" not in (sshd.folder / "sshd.log").read_text()


def test_a_host_key_that_changes_later_is_refused_too(
    stand: Stand, engine: TlsEngine, sshd: Sshd, impatient: None
) -> None:
    port = stand(engine.url)
    wait_until(lambda: told(port) == "")
    met = engine.met
    sshd.stop()
    sshd.change_host_key()
    sshd.start()
    wait_until(lambda: "does not have the host key of gpu-tiny-1" in told(port))
    assert engine.met == met


def test_a_key_that_is_not_taken_is_named(
    stand: Stand, engine: TlsEngine, sshd: Sshd, login: SshLogin, tmp_path: Path, impatient: None
) -> None:
    sshd.authorize(make_key(tmp_path / "another"))
    port = stand(engine.url)
    said = f"the machine of gpu-tiny-1 at 127.0.0.1:{sshd.port} does not take the key {login.identity}"
    wait_until(lambda: told(port) == said)


def test_a_machine_that_is_down_is_waited_for_and_the_client_told(
    stand: Stand, engine: TlsEngine, sshd: Sshd, login: SshLogin, impatient: None, capsys: pytest.CaptureFixture[str]
) -> None:
    sshd.stop()
    tries: list[SshLogin] = []

    def ask() -> SshLogin:
        tries.append(login)
        return login

    port = stand(engine.url, ask)
    said = f"gpu-tiny-1 is not reachable at 127.0.0.1:{sshd.port}: Connection refused"
    wait_until(lambda: told(port) == said)
    seen = len(tries)
    wait_until(lambda: len(tries) > seen + 1)
    sshd.start()
    wait_until(lambda: told(port) == "")
    assert capsys.readouterr().err.splitlines() == [said, "the tunnel to gpu-tiny-1 stands"]


def test_without_a_login_the_client_is_told(stand: Stand, engine: TlsEngine, impatient: None) -> None:
    assert told(stand(engine.url, lambda: None)) == "how to log in to the machine of gpu-tiny-1 is not known here"


def test_without_the_program_it_is_said_what_is_missing(
    stand: Stand,
    engine: TlsEngine,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = "gpu-tiny-1 cannot be reached without the program `ssh`: No such file or directory"
    assert told(stand(engine.url)) == said
    assert capsys.readouterr().err.splitlines() == [said]


def test_when_nothing_listens_on_the_machine_the_client_is_told_even_in_the_midst_of_a_large_request(
    stand: Stand,
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with closing(connect(stand(url))) as client:
        client.request("POST", "/v1/completions", b"x" * 3_000_000)
        response = client.getresponse()
        assert response.status == 502
        message = json.load(response)["error"]["message"]
    where = url.removeprefix("http://")
    assert message == f"the machine of gpu-tiny-1 has nothing at {where}: connect failed: Connection refused"


def test_a_machine_that_has_frozen_is_noticed_and_the_client_told(
    stand: Stand, engine: TlsEngine, sshd: Sshd, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_cli.fleet.reach.tunnel.ALIVE_COUNT", 1)
    port = stand(engine.url, alive_interval_s=1)
    wait_until(lambda: told(port) == "")
    frozen = sessions(sshd)
    for process in frozen:
        process.suspend()
    assert told(port)  # in time for this client, which is at the end of its patience after 20 s
    for process in frozen:
        process.resume()
    wait_until(lambda: told(port) == "")


def test_there_is_never_a_second_one_and_none_is_left_dead(stand: Stand, engine: TlsEngine) -> None:
    port = stand(engine.url)
    assert get(port)[0] == 200
    (tunnel,) = tunnels()
    tunnel.kill()
    wait_until(lambda: not is_alive(tunnel))
    assert get(port)[0] == 200
    assert len(tunnels()) == 1


def test_at_its_end_neither_a_process_nor_a_file_is_left(
    stand: Stand, engine: TlsEngine, forwarders: Forwarders
) -> None:
    assert get(stand(engine.url))[0] == 200
    (tunnel,) = tunnels()
    (way,) = [part for part in tunnel.cmdline() if part.startswith("LocalForward=")]
    socket_path = Path(way.removeprefix("LocalForward=").split(" ")[0])
    assert len(os.fsencode(socket_path)) < 100
    assert socket_path.parent.stat().st_mode & 0o777 == 0o700
    forwarders.close_all_but(())
    assert tunnels() == []
    assert not socket_path.parent.exists()


def test_it_ends_with_the_process_that_holds_it_however_that_ends(
    engine: TlsEngine, login: SshLogin, tmp_path: Path
) -> None:
    program = """
import sys, threading
from pathlib import Path
from gpu_cli.fleet.reach.forwarders import Forwarders
from gpu_cli.fleet.reach.tunnel import Tunnel
from gpu_providers.base import SshLogin

url, port, user, identity, known_hosts, name = sys.argv[1:]
login = SshLogin("127.0.0.1", int(port), user, Path(identity), Path(known_hosts), name)
print(Forwarders().start().stand(name, url, lambda: Tunnel(name, lambda: login), None), flush=True)
threading.Event().wait()
"""
    said = (engine.url, str(login.port), login.user, str(login.identity), str(login.known_hosts), NAME)
    with subprocess.Popen([sys.executable, "-c", program, *said], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        port = int(holder.stdout.readline())
        with closing(connect(port)) as client:
            client.request("GET", "/endless")
            client.getresponse().readline()
            (tunnel,) = tunnels(psutil.Process(holder.pid))
            holder.send_signal(signal.SIGKILL)
            wait_until(lambda: not is_alive(tunnel))


def test_who_stops_listening_carries_on_and_the_next_takes_the_same_port_at_once(
    stand: Stand, engine: TlsEngine, forwarders: Forwarders, login: SshLogin
) -> None:
    engine.paced = True
    port = stand(engine.url)
    with closing(Forwarders().start()) as following, closing(connect(port)) as client:
        client.request("GET", "/stream/token/2")
        response = client.getresponse()
        engine.go.release()
        assert response.readline() == b"token-0\n"
        forwarders.stop_listening()
        assert following.stand(NAME, engine.url, lambda: Tunnel(NAME, lambda: login), port) == port
        assert get(port) == (200, b"ok")
        engine.go.release()
        assert response.read() == b"token-1\n"


def test_no_configuration_agent_or_other_key_has_a_say(login: SshLogin) -> None:
    """As `ssh` itself reads the command."""
    command = ssh_command(login)
    read = subprocess.run([command[0], "-G", *command[1:]], capture_output=True, text=True, check=True).stdout
    settings = dict(line.split(" ", 1) for line in read.splitlines() if " " in line)
    assert settings["identityagent"] == "none"
    assert settings["identitiesonly"] == "yes"
    assert settings["stricthostkeychecking"] == "true"
    assert settings["globalknownhostsfile"] == "/dev/null"
    assert settings["userknownhostsfile"] == str(login.known_hosts)
    assert settings["preferredauthentications"] == "publickey"
