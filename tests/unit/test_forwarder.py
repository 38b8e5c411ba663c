import hashlib
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import openai
import psutil
import pytest
from driver import wait_until
from tls_engine import TlsEngine, server_context

from gpu_cli.fleet.certificates import Certificates, pinned_context
from gpu_cli.fleet.reach.forwarders import Forwarders
from gpu_cli.fleet.reach.pinned_tls import PinnedTls
from gpu_providers.base import Secret

NAME = "gpu-tiny-1"
UNTIL = time.time() + 3600


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def pem(certificates: Certificates) -> Secret:
    """Of the deployment that is forwarded to."""
    return certificates.create(NAME, UNTIL)


@pytest.fixture
def engine(pem: Secret) -> Iterator[TlsEngine]:
    with TlsEngine(pem) as engine:
        yield engine


@pytest.fixture
def forwarders() -> Iterator[Forwarders]:
    with closing(Forwarders().start()) as forwarders:
        yield forwarders


def stand(forwarders: Forwarders, certificates: Certificates, url: str, port: int | None) -> int:
    return forwarders.stand(NAME, url, lambda: PinnedTls(NAME, pinned_context(certificates.path(NAME))), port)


@pytest.fixture
def port(forwarders: Forwarders, engine: TlsEngine, certificates: Certificates) -> int:
    """Of loopback, where the engine is forwarded to."""
    return stand(forwarders, certificates, engine.url, None)


@pytest.fixture
def free_port() -> int:
    """One that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def connect(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=20)


def get(port: int, path: str) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    with closing(connect(port)) as client:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read()


def test_a_request_comes_to_the_engine_and_its_answer_back(port: int) -> None:
    assert get(port, "/health") == (200, b"ok")


def test_one_connection_takes_many_requests(engine: TlsEngine, port: int) -> None:
    with closing(connect(port)) as client:
        for _ in range(5):
            client.request("GET", "/health")
            assert client.getresponse().read() == b"ok"
    assert engine.met == 1


def test_only_this_machine_is_listened_to(port: int) -> None:
    listening = [one.laddr for one in psutil.Process().net_connections() if one.status == psutil.CONN_LISTEN]
    assert [address.ip for address in listening if address.port == port] == ["127.0.0.1"]


def test_tokens_pass_one_by_one_as_they_are_made(
    certificates: Certificates, pem: Secret, forwarders: Forwarders
) -> None:
    with TlsEngine(pem, paced=True) as engine:
        port = stand(forwarders, certificates, engine.url, None)
        with closing(connect(port)) as client:
            client.request("GET", "/stream/token/20")
            response = client.getresponse()
            for number in range(20):
                engine.go.release()
                assert response.readline() == f"token-{number}\n".encode()


def test_the_openai_client_streams_through_it(port: int) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-1", max_retries=0) as client:
        chunks = client.chat.completions.create(model="abcdefg", messages=[], stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "abcdefg"


def test_large_bodies_pass_unchanged_both_ways(port: int) -> None:
    body = random.Random(5).randbytes(20_000_000)
    with closing(connect(port)) as client:
        client.request("POST", "/echo", body)
        answer = client.getresponse().read()
    assert hashlib.sha256(answer).digest() == hashlib.sha256(body).digest()


def test_sixty_four_streams_at_once_lose_nothing(port: int) -> None:
    def stream(number: int) -> bytes:
        return get(port, f"/stream/s{number}/200")[1]

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(stream, range(64)))
    assert answers == ["".join(f"s{of}-{number}\n" for number in range(200)).encode() for of in range(64)]


def test_hundreds_of_connections_may_be_open_and_say_nothing(engine: TlsEngine, port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    assert get(port, "/health") == (200, b"ok")
    assert engine.met == 1
    for one in silent:
        one.close()


def test_a_slow_client_gets_all_of_an_answer_that_ends_with_its_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.sendall(b"GET /close/5000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        received = 0
        while data := client.recv(65536):
            received += data.count(b"x")
    assert received == 5_000_000


def test_a_fast_engine_waits_for_a_slow_client(engine: TlsEngine, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /close/200000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1000)
        before = psutil.Process().memory_info().rss  # this process holds the forwarder
        time.sleep(0.5)
        assert psutil.Process().memory_info().rss - before < 50e6


def test_the_engine_learns_that_a_client_has_gone(engine: TlsEngine, port: int) -> None:
    client = connect(port)
    client.request("GET", "/endless")
    assert client.getresponse().readline() == b"token\n"
    client.close()
    assert engine.hung_up.wait(10)


def test_a_man_in_the_middle_hears_nothing_and_the_client_is_told(
    certificates: Certificates, pem: Secret, forwarders: Forwarders, tmp_path: Path
) -> None:
    copied = Certificates(tmp_path / "theirs").create(NAME, UNTIL)
    with TlsEngine(copied) as other:
        port = stand(forwarders, certificates, other.url, None)
        status, text = get(port, "/v1/models")
        assert status == 502
        assert "does not have the certificate of gpu-tiny-1: nothing was sent to it" in text.decode()
        assert (other.met, bytes(other.heard)) == (1, b"")


def test_someone_who_speaks_no_tls_hears_nothing_of_the_request(
    certificates: Certificates, pem: Secret, forwarders: Forwarders
) -> None:
    heard = bytearray()

    def listen() -> None:
        connection, _ = listener.accept()
        with connection:
            heard.extend(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        status, text = get(stand(forwarders, certificates, url, None), "/secret")
        thread.join()
    assert status == 502
    assert "no TLS is spoken there" in text.decode()
    assert b"secret" not in heard


def test_without_an_engine_the_client_is_told_even_in_the_midst_of_a_large_request(
    certificates: Certificates, pem: Secret, forwarders: Forwarders, free_port: int
) -> None:
    port = stand(forwarders, certificates, f"https://127.0.0.1:{free_port}", None)
    with closing(connect(port)) as client:
        client.request("POST", "/v1/completions", b"x" * 3_000_000)
        response = client.getresponse()
        assert response.status == 502
        assert response.headers["Content-Type"] == "application/json"
        told = json.load(response)["error"]["message"]
    assert told == f"gpu-tiny-1 is not reachable at 127.0.0.1:{free_port}: Connection refused"


def test_an_engine_that_hangs_up_without_a_word_is_told_of(
    certificates: Certificates, pem: Secret, forwarders: Forwarders
) -> None:
    def hang_up() -> None:
        connection, _ = listener.accept()
        with server_context(pem).wrap_socket(connection, server_side=True) as speaking:
            speaking.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up)
        thread.start()
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        status, text = get(stand(forwarders, certificates, f"https://{where}", None), "/health")
        thread.join()
    assert status == 502
    assert f"gpu-tiny-1 is not reachable at {where}: the connection was closed" in text.decode()


def test_the_openai_client_shows_why_there_is_no_engine(
    certificates: Certificates, pem: Secret, forwarders: Forwarders, free_port: int
) -> None:
    port = stand(forwarders, certificates, f"https://127.0.0.1:{free_port}", None)
    said = r"gpu-tiny-1 is not reachable at .*: Connection refused"
    with (
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-1", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match=said),
    ):
        client.models.list()


def test_an_engine_that_moves_is_followed(
    certificates: Certificates, pem: Secret, forwarders: Forwarders, engine: TlsEngine, port: int
) -> None:
    assert get(port, "/health")[0] == 200
    with TlsEngine(pem) as moved:
        assert stand(forwarders, certificates, moved.url, port) == port
        assert get(port, "/health")[0] == 200
        assert (engine.met, moved.met) == (1, 1)


def test_an_end_closes_the_port_and_every_connection(forwarders: Forwarders, port: int) -> None:
    with closing(connect(port)) as client:
        client.request("GET", "/health")
        client.getresponse().read()
        forwarders.close_all_but(["gpu-other-1"])
        assert client.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            get(port, "/health")


def test_who_stops_listening_carries_on_and_the_next_takes_the_same_port_at_once(
    certificates: Certificates, pem: Secret, forwarders: Forwarders
) -> None:
    with TlsEngine(pem, paced=True) as engine, closing(Forwarders().start()) as following:
        port = stand(forwarders, certificates, engine.url, None)
        with closing(connect(port)) as client:
            client.request("GET", "/stream/token/2")
            response = client.getresponse()
            engine.go.release()
            assert response.readline() == b"token-0\n"
            forwarders.stop_listening()
            assert stand(following, certificates, engine.url, port) == port
            assert get(port, "/health") == (200, b"ok")
            assert forwarders.carry
            engine.go.release()
            assert response.read() == b"token-1\n"
        wait_until(lambda: not forwarders.carry)


def test_a_port_that_another_program_has_taken_is_left_to_it(
    certificates: Certificates, engine: TlsEngine, forwarders: Forwarders
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        port = stand(forwarders, certificates, engine.url, wanted)
    assert port != wanted
    assert get(port, "/health") == (200, b"ok")


def test_it_takes_no_processor_time_while_nothing_passes(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    assert get(port, "/health")[0] == 200
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1
    for one in idle:
        one.close()
