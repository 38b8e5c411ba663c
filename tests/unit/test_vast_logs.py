"""The log of an instance of Vast.ai: uploaded on request, put together from readings that overlap."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from typing import Any

import pytest
from emulated_runpod import until
from emulated_vast import Caller
from emulators.container_log import CONTAINER
from emulators.vast import VastEmulator
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Reply, ScriptedServer, said

from gpu_providers.base import Secret
from gpu_providers.errors import NotFound, ProviderUnavailable
from gpu_providers.http import Http
from gpu_providers.vast import logs
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.logs import instance_log, new_lines

POLL_S = 0.05
NOT_YET = Reply(403, "<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
GONE = (said({"instances": None}), said({"instances": [], "next_token": None}))


def upload(text: str) -> Reply:
    return Reply(200, text, {"Content-Type": "text/plain"})


def shown(status: str | None = "running") -> Reply:
    return said({"instances": {"id": 42, "actual_status": status, "intended_status": "running"}})


class Script:
    """A cloud that follows a script, and a client of it."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.client = VastClient(Secret("k" * 64), server.url, Http())

    def asked_for(self) -> Reply:
        """What tells where the log will be."""
        return said({"success": True, "result_url": f"{self.server.url}/instance_logs/f00.log"})

    def reading(self, *uploads: Reply) -> list[Reply]:
        """One look at a log."""
        return [shown(), self.asked_for(), *uploads]

    def lines(self, **how: Any) -> Iterator[str]:
        usual: dict[str, Any] = {"tail": None, "follow": False, "stop": lambda: False, "poll_s": POLL_S}
        return instance_log(self.client, "42", **{**usual, **how})


@pytest.fixture
def script() -> Iterator[Script]:
    with ScriptedServer() as server:
        yield Script(server)


def stop_after(looks: int) -> Callable[[], bool]:
    answers = iter([False] * looks)
    return lambda: next(answers, True)


# Reading


def test_a_log_is_requested_awaited_and_read_without_the_key(script: Script) -> None:
    script.server.replies.extend(script.reading(NOT_YET, NOT_YET, upload("one\r\n\ntwo\n")))
    assert list(script.lines()) == ["one", "", "two"]
    shows, requests, *fetches = script.server.asked
    assert (requests.method, requests.path) == ("PUT", "/api/v0/instances/request_logs/42/")
    assert requests.body == {"tail": str(logs.MOST_LINES)}
    assert "authorization" in shows.headers
    assert [fetch.path for fetch in fetches] == ["/instance_logs/f00.log"] * 3
    assert not [fetch for fetch in fetches if "authorization" in fetch.headers]


def test_tail_keeps_the_last_lines_whatever_is_uploaded(script: Script) -> None:
    script.server.replies.extend(script.reading(upload("one\ntwo\nthree\n")))
    assert list(script.lines(tail=2)) == ["two", "three"]
    assert script.server.asked[1].body == {"tail": "2"}


def test_a_tail_of_nothing_is_nothing(script: Script) -> None:
    script.server.replies.append(shown())
    assert list(script.lines(tail=0)) == []


def test_an_empty_log_has_no_lines(script: Script) -> None:
    script.server.replies.extend(script.reading(upload("")))
    assert list(script.lines()) == []


@pytest.mark.parametrize("status", [None, "created", "loading"])
def test_a_container_that_has_not_run_has_printed_nothing(script: Script, status: str | None) -> None:
    script.server.replies.append(shown(status))
    assert list(script.lines()) == []


def test_a_container_that_has_ended_has_its_log_still(script: Script) -> None:
    script.server.replies.extend([shown("exited"), script.asked_for(), upload("its last words\n")])
    assert list(script.lines()) == ["its last words"]


def test_a_log_that_is_not_uploaded_in_time_is_no_empty_log(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "UPLOAD_S", 0.1)
    script.server.replies.extend(script.reading(*[NOT_YET] * 50))
    with pytest.raises(ProviderUnavailable, match="in time"):
        list(script.lines())
    assert len(script.server.replies) > 25  # it gave up long before all were asked for
    script.server.replies.clear()


def kept(text: str, written: str) -> Reply:
    """By a store that tells its time, besides the one that every answer has."""
    return Reply(200, text, {"Content-Type": "text/plain", "Last-Modified": written})


def ago(seconds: float) -> str:
    return formatdate(time.time() - seconds, usegmt=True)


def test_what_was_uploaded_before_it_was_asked_for_is_waited_out(script: Script) -> None:
    script.server.replies.extend(script.reading(*[kept("one\n", ago(9))] * 2, kept("one\ntwo\n", ago(0))))
    assert list(script.lines()) == ["one", "two"]


def test_where_nothing_newer_comes_what_was_uploaded_before_is_shown(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "UPLOAD_S", 0.1)
    script.server.replies.extend(script.reading(*[kept("its last words\n", ago(3600))] * 50))
    assert list(script.lines()) == ["its last words"]
    script.server.replies.clear()


@pytest.mark.parametrize("written", ["", "yesterday"])
def test_a_store_that_does_not_tell_when_it_was_written_is_believed(script: Script, written: str) -> None:
    script.server.replies.extend(script.reading(kept("one\n", written)))
    assert list(script.lines()) == ["one"]


def test_following_at_an_address_that_shows_the_reading_before_brings_each_line_once() -> None:
    with VastEmulator(boot_s=0, misbehave=[{"do": "stale-log"}]) as cloud:
        call = Caller(cloud)
        id_ = call.rented()
        until(lambda: call.instance(id_)["actual_status"] == "running")
        log = cloud.instances.named(id_).log
        assert log is not None
        client = VastClient(Secret(cloud.key), cloud.url, Http())
        told = instance_log(client, str(id_), tail=None, follow=True, stop=lambda: False, poll_s=POLL_S)
        read = []
        for line in ("one", "two", "two", "three"):
            log.add(CONTAINER, line)
            read.append(next(told))
    assert read == ["one", "two", "two", "three"]


def test_the_log_of_what_is_gone_or_never_was_is_not_found(script: Script) -> None:
    script.server.replies.extend(GONE)
    with pytest.raises(NotFound):
        list(script.lines())
    with pytest.raises(NotFound):
        list(instance_log(script.client, "gpu-llama", tail=None, follow=False, stop=lambda: False, poll_s=POLL_S))


# Following


def test_following_brings_each_line_once_and_ends_with_the_instance(script: Script) -> None:
    for text in ("one\n", "one\ntwo\ntwo\n", "one\ntwo\ntwo\n", "one\ntwo\ntwo\ntwo\nthree\n"):
        script.server.replies.extend(script.reading(upload(text)))
    script.server.replies.extend(GONE)
    assert list(script.lines(follow=True)) == ["one", "two", "two", "two", "three"]


def test_following_with_a_tail_begins_with_it_and_brings_all_that_comes_after(script: Script) -> None:
    for text in ("one\ntwo\n", "one\ntwo\nthree\nfour\n"):
        script.server.replies.extend(script.reading(upload(text)))
    assert list(script.lines(tail=1, follow=True, stop=stop_after(1))) == ["two", "three", "four"]


def test_following_begins_before_the_container_runs(script: Script) -> None:
    script.server.replies.extend([shown("loading"), *script.reading(upload("up\n"))])
    assert list(script.lines(follow=True, stop=stop_after(1))) == ["up"]


def test_following_ends_when_it_is_told_to(script: Script) -> None:
    script.server.replies.extend(script.reading(upload("one\n")))
    assert list(script.lines(follow=True, stop=lambda: True)) == ["one"]


def test_following_outlives_a_look_that_fails_and_gives_up_after_some(script: Script) -> None:
    refused = said({"success": False, "error": "server_error", "msg": "try again"}, 400)
    script.server.replies.extend([*script.reading(upload("one\n")), refused, *script.reading(upload("one\ntwo\n"))])
    assert list(script.lines(follow=True, stop=stop_after(2))) == ["one", "two"]
    script.server.replies.extend([*script.reading(upload("one\n")), *[refused] * (logs.FAILURES + 1)])
    with pytest.raises(ProviderUnavailable):
        list(script.lines(follow=True))


# Putting readings together


LINES = st.sampled_from(["a", "b", ""])


@given(log=st.lists(LINES, max_size=30), looks=st.lists(st.integers(0, 30), max_size=8))
def test_readings_of_a_whole_log_give_each_line_once_however_often_it_repeats_itself(
    log: list[str], looks: list[int]
) -> None:
    """Also when an upload is older than the one before it."""
    assert followed([log[:length] for length in looks]) == log[: max(looks, default=0)]


@given(steps=st.lists(st.integers(0, 9), min_size=1, max_size=12), stale=st.integers(0, 11))
def test_a_window_that_moves_on_loses_and_doubles_nothing(steps: list[int], stale: int) -> None:
    log = [str(number) for number in range(200)]
    ends = [10 + sum(steps[:count]) for count in range(len(steps) + 1)]
    ends.insert(stale % len(ends) + 1, max(10, ends[stale % len(ends)] - 3))  # an old upload, once
    assert followed([log[end - 10 : end] for end in ends]) == log[: max(ends)]


def test_a_reading_that_goes_further_back_than_the_last_brings_only_what_is_new() -> None:
    assert new_lines(["c", "d"], ["a", "b", "c", "d", "e"]) == ["e"]


def test_a_short_old_upload_brings_nothing() -> None:
    assert new_lines(["a", "b", "c", "d"], ["b", "c"]) == []


def test_a_log_that_began_anew_is_new() -> None:
    assert new_lines(["a", "b", "c"], ["x", "y"]) == ["x", "y"]
    assert new_lines([], ["x"]) == ["x"]
    assert new_lines(["a"], []) == []


def test_long_logs_are_put_together_at_once() -> None:
    window = [json.dumps({"line": number % 3}) for number in range(logs.WINDOW_LINES)]
    began = time.monotonic()
    assert new_lines(window, [*window[1:], "x"]) == ["x"]
    assert len(new_lines(window, ["y"] * logs.WINDOW_LINES)) == logs.WINDOW_LINES
    assert time.monotonic() - began < 10


def followed(readings: Sequence[Sequence[str]]) -> list[str]:
    """All lines, of one reading after the other."""
    known: list[str] = []
    for lines in readings:
        known += new_lines(known, lines)
    return known
