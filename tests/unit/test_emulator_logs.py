"""The emulated RunPod's log streams, read over HTTP."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from driver import wait_until
from emulators.clock import Clock
from emulators.container_log import CONTAINER, SYSTEM, Log, LogLine
from emulators.runpod.logs import LogStreams, nanoseconds
from emulators.server import Route, Router, Server
from hypothesis import given
from hypothesis import strategies as st


@dataclass
class World:
    """One log behind a server."""

    clock: Clock
    log: Log
    url: str = ""
    open_streams: list[str] = field(default_factory=list)

    def read(self, count: int, headers: dict[str, str] = {}, **query: str) -> list[str]:  # noqa: B006
        """The first so many lines of the stream; it is read for as long as that takes."""
        lines = (str(json.loads(event["data"])["line"]) for event in self.events(headers, **query))
        return [next(lines) for _ in range(count)]

    def events(self, headers: dict[str, str] = {}, **query: str) -> Iterator[dict[str, Any]]:  # noqa: B006
        """Frames as dictionaries of their fields."""
        with httpx.stream("GET", f"{self.url}/v2/pods/pod1/logs", params=query, headers=headers, timeout=5) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["Content-Type"] == "text/event-stream"
            event: dict[str, Any] = {}
            for line in answer.iter_lines():
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    yield event
                    event = {}


@pytest.fixture
def world() -> Iterator[World]:
    clock = Clock()
    made = World(clock, Log(clock.now))
    stopping = threading.Event()
    streams = LogStreams(lambda request: made.log if request.params["id"] == "pod1" else None, clock, stopping)
    router = Router([Route("GET", "/v2/pods/{id}/logs", streams.handle, locked=False)])

    def answer(request: Any) -> Any:
        route, found = router.find(request)  # type: ignore[misc]
        return route.handle(found)

    server = Server(answer)
    server.start()
    made.url = server.url
    yield made
    stopping.set()
    server.stop()


def fill(log: Log, count: int, source: str = CONTAINER) -> None:
    for number in range(1, count + 1):
        log.add(source, f"{source} {number}")


def test_a_frame_has_an_id_and_time_source_and_line(world: World) -> None:
    world.log.add(SYSTEM, 'start container for "x": begin')

    event = next(world.events())

    data = json.loads(event["data"])
    assert data == {"ts": data["ts"], "source": "system", "line": 'start container for "x": begin'}
    assert event["id"] == f"{data['ts']}/000000000001"
    assert len(data["ts"].partition(".")[2]) == len("123456789Z")


def test_the_last_hundred_lines_come_first_and_then_the_new_ones(world: World) -> None:
    fill(world.log, 150)
    stream = world.events()

    past = [json.loads(next(stream)["data"])["line"] for _ in range(100)]
    world.log.add(CONTAINER, "new")

    assert (past[0], past[-1]) == ("container 51", "container 150")
    assert json.loads(next(stream)["data"])["line"] == "new"
    stream.close()  # type: ignore[attr-defined]


def test_tail_is_counted_after_the_source_is_chosen(world: World) -> None:
    fill(world.log, 3, SYSTEM)
    fill(world.log, 50)

    assert world.read(2, tail="2", source="system") == ["system 2", "system 3"]
    assert world.read(2, tail="2") == ["container 49", "container 50"]


def test_tail_of_nothing_is_the_live_stream_alone(world: World) -> None:
    fill(world.log, 5)
    threading.Timer(0.3, lambda: world.log.add(CONTAINER, "new")).start()

    assert world.read(1, tail="0") == ["new"]


def test_since_gives_all_lines_from_then_on_whatever_tail_says(world: World) -> None:
    fill(world.log, 5)
    third = world.log.lines()[2]

    assert world.read(3, since=third.ts, tail="1") == ["container 3", "container 4", "container 5"]


def test_a_reader_goes_on_behind_the_last_event_that_it_saw(world: World) -> None:
    fill(world.log, 5)
    ids = [event["id"] for event, _ in zip(world.events(), range(2), strict=False)]

    assert world.read(3, headers={"Last-Event-ID": ids[1]}, since="2000-01-01T00:00:00Z") == [
        "container 3",
        "container 4",
        "container 5",
    ]
    timestamp = ids[1].partition("/")[0]
    assert world.read(1, headers={"Last-Event-ID": timestamp})[0] in ("container 3", "container 4")


@pytest.mark.parametrize(
    "query", [{"tail": "-1"}, {"tail": "5001"}, {"tail": "x"}, {"source": "both"}, {"since": "yesterday"}]
)
def test_a_query_that_makes_no_sense_is_refused(world: World, query: dict[str, str]) -> None:
    answer = httpx.get(f"{world.url}/v2/pods/pod1/logs", params=query)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 422


def test_an_idle_stream_sends_keepalives_and_does_not_end(world: World) -> None:
    with httpx.stream("GET", f"{world.url}/v2/pods/pod1/logs", timeout=5) as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": keepalive", "", ": keepalive", ""]


def test_a_reader_that_hangs_up_is_noticed(world: World) -> None:
    threads = threading.active_count()
    with httpx.stream("GET", f"{world.url}/v2/pods/pod1/logs", timeout=5):
        wait_until(lambda: threading.active_count() > threads)

    wait_until(lambda: threading.active_count() == threads, timeout_s=10)


def test_the_stream_ends_with_the_container_and_the_log_is_there_for_two_minutes(world: World) -> None:
    fill(world.log, 2)
    threading.Timer(0.2, world.log.end).start()

    assert len(list(world.events())) == 2
    world.clock.advance(100)
    assert len(list(world.events())) == 2
    world.clock.advance(30)
    assert httpx.get(f"{world.url}/v2/pods/pod1/logs").status_code == 404


def test_a_pod_that_never_was_has_no_log(world: World) -> None:
    answer = httpx.get(f"{world.url}/v2/pods/pod2/logs")

    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")


@given(st.integers(0, 4 * 10**18))
def test_a_time_that_was_written_reads_back_to_the_nanosecond(at_ns: int) -> None:
    assert nanoseconds(LogLine(1, at_ns, SYSTEM, "").ts) == at_ns


def test_times_with_an_offset_or_fewer_digits_are_understood() -> None:
    assert nanoseconds("2026-06-01T14:02:03.5+02:00") == nanoseconds("2026-06-01T12:02:03.500000000Z")
    assert nanoseconds("2026-06-01T12:02:03Z") == int(1780315323e9)
