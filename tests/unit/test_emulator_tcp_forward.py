"""Ports that pass raw bytes on."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from emulators.tcp_forward import TcpForwards


@pytest.fixture
def forwards() -> Iterator[TcpForwards]:
    made = TcpForwards()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Starts a server that does this with each connection, and answers its port."""
    servers, threads = [], []

    def start(serve: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        thread = threading.Thread(target=_accept, args=(server, serve), daemon=True)
        thread.start()
        threads.append(thread)
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    for thread in threads:
        thread.join()


def _accept(server: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            serve(connection)


def everything_from(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_each_side_may_end_its_half_and_hear_the_other_out(forwards: TcpForwards, listen: Callable[..., int]) -> None:
    inner = listen(lambda connection: connection.sendall(everything_from(connection)[::-1]))
    sent = bytes(range(256)) * 4096
    with socket.create_connection(("127.0.0.1", forwards.open(lambda: inner)), timeout=10) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert everything_from(client) == sent[::-1]


def test_bytes_come_as_they_are_sent(forwards: TcpForwards, listen: Callable[..., int]) -> None:
    more, done = threading.Event(), threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"one")
        more.wait(10)
        connection.sendall(b"two")
        done.wait(10)

    inner = listen(drip)
    with socket.create_connection(("127.0.0.1", forwards.open(lambda: inner)), timeout=10) as client:
        assert client.recv(3) == b"one"
        more.set()
        assert client.recv(3) == b"two"
        done.set()


@pytest.mark.parametrize("behind", [None, 1])
def test_where_nothing_listens_the_connection_is_reset(forwards: TcpForwards, behind: int | None) -> None:
    port = forwards.open(lambda: behind)
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        client.recv(1)


def test_what_a_port_leads_to_is_asked_for_each_connection(forwards: TcpForwards, listen: Callable[..., int]) -> None:
    inner = [listen(lambda connection: connection.sendall(b"a")), listen(lambda connection: connection.sendall(b"b"))]
    port = forwards.open(lambda: inner.pop(0))
    said = []
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            said.append(everything_from(client))
    assert said == [b"a", b"b"]


def test_a_closed_port_is_refused_and_a_stop_ends_what_is_open(listen: Callable[..., int]) -> None:
    forwards = TcpForwards()
    forwards.start()
    release = threading.Event()
    inner = listen(lambda _: release.wait(10))
    closed, opened = forwards.open(lambda: inner), forwards.open(lambda: inner)
    forwards.close(closed)
    forwards.close(closed)
    with socket.create_connection(("127.0.0.1", opened), timeout=10) as client:
        client.sendall(b"hello")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", closed), timeout=10)
        forwards.stop()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    release.set()
    assert not [thread for thread in threading.enumerate() if thread.name == "tcp-forwards"]
