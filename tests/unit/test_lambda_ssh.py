"""One SSH connection to a machine, against a real OpenSSH server."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from a_sshd import HAS_SSHD, USER, Sshd, free_port, make_key

from gpu_providers.base import SshLogin
from gpu_providers.errors import InvalidRequest
from gpu_providers.lambda_cloud import ssh
from gpu_providers.lambda_cloud.ssh import HostKeyChanged, KeyRefused, NotUp, connect

pytestmark = pytest.mark.skipif(not HAS_SSHD, reason="needs OpenSSH's server")


def server_in(folder: Path) -> Sshd:
    (folder / "home").mkdir()
    return Sshd(folder / "sshd", {"HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Shared: nobody stops it."""
    with server_in(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Sshd]:
    """For one test alone."""
    with server_in(tmp_path) as server:
        yield server


def login_to(server: Sshd, host_key: str = "") -> SshLogin:
    known_hosts = server.folder / "known_hosts"
    known_hosts.write_text(f"gpu-other {server.host_key}x\ngpu-a {host_key or server.host_key}\n")
    return SshLogin(server.address, server.port, USER, server.identity, known_hosts, alias="gpu-a")


def run(login: SshLogin, command: str = "true", stdin: bytes = b"", timeout_s: float = 10.0) -> tuple[int, str, str]:
    with connect(login, timeout_s=timeout_s) as session:
        ran = session.run(command, stdin)
    return ran.exit, ran.stdout, ran.stderr


def test_a_command_gets_its_standard_input_and_gives_back_what_it_printed_and_its_status(server: Sshd) -> None:
    megabytes = b"x" * 3_000_000
    assert run(login_to(server), "wc -c; echo oh >&2; exit 3", megabytes) == (3, "3000000\n", "oh\n")


def test_several_commands_share_one_connection(server: Sshd) -> None:
    with connect(login_to(server), timeout_s=10) as session:
        assert [session.run(f"echo {number}").stdout for number in (1, 2)] == ["1\n", "2\n"]


def test_a_command_that_reads_nothing_still_tells_why_it_ended(server: Sshd) -> None:
    status, _, stderr = run(login_to(server), "no-such-program", b"x" * 100_000)
    assert status == 127
    assert "no-such-program" in stderr


def test_nothing_is_sent_to_a_server_with_another_host_key_not_even_who_logs_in(
    own_server: Sshd, tmp_path: Path
) -> None:
    with pytest.raises(HostKeyChanged) as changed:
        run(login_to(own_server, make_key(tmp_path / "another")))
    assert changed.value.presented == own_server.host_key
    time.sleep(0.1)
    assert "userauth-request" not in (own_server.folder / "sshd.log").read_text()


def test_a_host_key_counts_only_under_the_machines_own_name(server: Sshd) -> None:
    with pytest.raises(HostKeyChanged):
        run(replace(login_to(server), alias="gpu-other"))


def test_no_host_key_will_do_for_a_machine_that_was_forgotten(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(HostKeyChanged):
        run(replace(login_to(server), known_hosts=tmp_path / "none"))


def test_a_refused_key_is_told_from_a_server_that_is_not_up(own_server: Sshd) -> None:
    own_server.authorize()
    with pytest.raises(KeyRefused, match="refuses our key yet") as refused:
        run(login_to(own_server))
    assert refused.value.verified


def test_a_connection_that_is_refused_is_a_server_that_is_not_up(own_server: Sshd) -> None:
    own_server.stop()
    with pytest.raises(NotUp, match="does not answer yet") as failure:
        run(login_to(own_server))
    assert not failure.value.verified


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"Exceeded MaxStartups\r\n"])
def test_so_is_one_that_is_cut_before_it_has_a_key(server: Sshd, said: bytes) -> None:
    login = replace(login_to(server), port=free_port())
    with socket.create_server((login.host, login.port)) as listener:
        threading.Thread(target=answer_once, args=(listener, said), daemon=True).start()
        with pytest.raises(NotUp, match="does not answer yet"):
            run(login)


def answer_once(listener: socket.socket, said: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(said)


def test_a_server_that_says_nothing_is_waited_for_only_so_long(server: Sshd) -> None:
    login = replace(login_to(server), port=free_port())
    with socket.create_server((login.host, login.port)):
        began = time.monotonic()
        with pytest.raises(NotUp, match="does not answer yet"):
            run(login, timeout_s=0.4)
    assert time.monotonic() - began < 2


def test_a_command_that_goes_on_is_waited_for_only_so_long(server: Sshd) -> None:
    began = time.monotonic()
    with pytest.raises(NotUp, match="lost"):
        run(login_to(server), "sleep 30", timeout_s=1.0)
    assert time.monotonic() - began < 3


def test_a_connection_that_is_cut_while_a_command_runs_is_no_end_of_the_command(own_server: Sshd) -> None:
    cut = threading.Timer(0.4, own_server.stop)
    cut.start()
    with pytest.raises(NotUp, match="lost"):
        run(login_to(own_server), "sleep 30")
    cut.join()


def test_lines_come_as_they_are_printed_and_end_with_the_command(server: Sshd) -> None:
    with connect(login_to(server), timeout_s=10) as session:
        lines = session.lines("echo one; printf 'tw'; sleep 0.2; printf 'o\\nthree'", lambda: False)
        assert list(lines) == ["one", "two", "three"]


def test_lines_outlast_the_time_limit_of_the_connection(server: Sshd) -> None:
    with connect(login_to(server), timeout_s=1.5) as session:
        assert list(session.lines("sleep 1.5; echo late", lambda: False)) == ["late"]


def test_a_command_that_is_silent_is_no_server_that_is(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_PROBE_S", 0.2)
    monkeypatch.setattr(ssh, "_LOOK_S", 0.1)
    with connect(login_to(server), timeout_s=10) as session:
        assert list(session.lines("sleep 0.5; echo one", lambda: False)) == ["one"]


def test_lines_end_when_nobody_wants_them_any_more(server: Sshd) -> None:
    over = threading.Event()
    with connect(login_to(server), timeout_s=10) as session:
        lines = session.lines("echo one; sleep 30", over.is_set)
        assert next(lines) == "one"
        over.set()
        assert list(lines) == []


def test_lines_of_a_connection_that_is_cut_do_not_just_end(own_server: Sshd) -> None:
    with connect(login_to(own_server), timeout_s=10) as session:
        lines = session.lines("echo one; sleep 30", lambda: False)
        assert next(lines) == "one"
        own_server.stop()
        with pytest.raises(NotUp, match="lost"):
            next(lines)


def test_a_server_that_has_gone_silent_is_noticed_between_two_lines(
    own_server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_PROBE_S", 0.4)
    monkeypatch.setattr(ssh, "_LOOK_S", 0.1)
    with connect(login_to(own_server), timeout_s=10) as session:
        lines = session.lines("echo one; sleep 30", lambda: False)
        assert next(lines) == "one"
        own_server.freeze()
        with pytest.raises(NotUp, match="lost"):
            next(lines)


@pytest.mark.parametrize("text", [None, "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_a_private_key_that_cannot_be_used_is_said_before_anybody_is_asked(tmp_path: Path, text: str | None) -> None:
    identity = tmp_path / "id"
    if text is not None:
        identity.write_text(text)
    login = SshLogin("127.0.0.1", free_port(), USER, identity, tmp_path / "known_hosts", alias="gpu-a")
    with pytest.raises(InvalidRequest, match="does not log in"):
        run(login)
