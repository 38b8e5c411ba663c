"""The port of the guard's metrics: what it answers to whom."""

import socket
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.guard.metrics_server import MetricsServer

ODD = 'a "quoted" \\ name,\nin {two} lines \N{SNOWMAN}'


class Cloudy(Gauge):
    """Cannot tell when there is trouble."""

    trouble: UserError | None = None

    def collect(self) -> object:
        if self.trouble:
            raise self.trouble
        return super().collect()


@pytest.fixture
def gauge() -> Cloudy:
    gauge = Cloudy("thing", "help", ["deployment"], registry=None)
    gauge.labels(ODD).set(1)
    return gauge


@pytest.fixture
def server(gauge: Cloudy) -> Iterator[MetricsServer]:
    registry = CollectorRegistry()
    registry.register(gauge)
    with closing(MetricsServer(0, registry)) as server:
        server.start()
        yield server


def ask(server: MetricsServer, path: str = "/metrics", method: str = "GET", **headers: str) -> httpx.Response:
    return httpx.request(method, f"http://127.0.0.1:{server.port}{path}", headers=headers, timeout=10)


def test_names_of_any_letters_are_read_as_they_were_written(server: MetricsServer) -> None:
    [family] = text_string_to_metric_families(ask(server).text)
    assert [sample.labels["deployment"] for sample in family.samples] == [ODD]


def test_it_answers_to_the_name_of_this_machine_and_to_no_web_page_that_points_its_own_name_here(
    server: MetricsServer,
) -> None:
    for name in ("localhost", "127.0.0.1:1"):  # a tunnel may have another port
        assert ask(server, Host=name).status_code == 200
    for name in ("rebound.example", "rebound.example:80", "127.0.0.1.rebound.example", "[", ""):
        refused = ask(server, Host=name)
        assert (refused.status_code, "thing" in refused.text) == (403, False)


def test_one_path_is_served_and_no_method_that_changes_anything(server: MetricsServer) -> None:
    assert [ask(server, path).status_code for path in ("/", "/favicon.ico", "/metrics/x", "//[")] == [404] * 4
    assert ask(server, "/metrics?name[]=x").status_code == 200
    assert [ask(server, method=method).status_code for method in ("POST", "DELETE", "OPTIONS")] == [501] * 3
    head = ask(server, method="HEAD")
    assert (head.status_code, head.content, head.headers["content-length"] > "0") == (200, b"", True)


@pytest.mark.parametrize("accept", ["", "*/*", "application/openmetrics-text; version=1.0.0", "text/html;q=x, ;;,"])
def test_whatever_is_accepted_something_is_served(server: MetricsServer, accept: str) -> None:
    assert "thing{" in ask(server, Accept=accept).text


def test_a_record_that_cannot_be_read_is_told_to_who_scrapes(server: MetricsServer, gauge: Cloudy) -> None:
    gauge.trouble = UserError(Exit.BAD_INPUT, "busy", "the record is in use")
    answer = ask(server)
    assert (answer.status_code, answer.text) == (503, "the record is in use\n")
    gauge.trouble = None
    assert ask(server).status_code == 200


def test_who_says_nothing_or_leaves_holds_up_nobody(server: MetricsServer, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert ask(server).status_code == 200
    with socket.create_connection(("127.0.0.1", server.port)) as rude:
        rude.sendall(b"nonsense\r\n\r\n")
    assert ask(server).status_code == 200
    assert capsys.readouterr().err == ""
