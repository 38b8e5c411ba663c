"""Every way in which an emulated cloud misbehaves on request, shown on RunPod's emulator over HTTP."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from emulated_runpod import H100, L4, Caller, new_pod, until
from emulators.misbehaviour import CALLS, WHATS, Misbehaviour, parse, read
from emulators.runpod import RunPodEmulator
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def call() -> Iterator[Caller]:
    with RunPodEmulator(boot_s=0) as cloud:
        yield Caller(cloud)


# Which call a rule meets


@given(after=st.integers(0, 4), times=st.none() | st.integers(0, 4), calls=st.integers(0, 12))
def test_a_rule_skips_the_first_and_then_applies_so_many_times(after: int, times: int | None, calls: int) -> None:
    rule = {"do": "rate-limit", "after": after} | ({} if times is None else {"times": times})
    misbehaviour = Misbehaviour([rule])
    applied = [misbehaviour.take("rate-limit", call="list") is not None for _ in range(calls)]
    assert applied == [after <= i < after + (calls if times is None else times) for i in range(calls)]


def test_rules_for_the_same_call_follow_each_other() -> None:
    misbehaviour = Misbehaviour([{"do": "server-error", "times": 2}, {"do": "rate-limit", "times": 1}])
    taken = [misbehaviour.take("server-error", "rate-limit", call="list") for _ in range(4)]
    assert [rule and rule.do for rule in taken] == ["server-error", "server-error", "rate-limit", None]


def test_any_means_every_call_but_those_of_the_proxy() -> None:
    misbehaviour = Misbehaviour([{"do": "html"}])
    met = {call for call in CALLS if misbehaviour.take("html", call=call)}
    assert met == set(CALLS) - {"proxy"}


def test_a_rule_about_a_gpu_meets_only_creates_of_it(call: Caller) -> None:
    call.cloud.misbehave({"do": "no-capacity", "gpu": "H100"})
    created = [call.create(gpu={"id": gpu, "count": 1}).status_code for gpu in (H100, L4)]
    assert created == [400, 201]


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"do": "dance"}, "do: 'dance' is none of"),
        ({}, "do: None is none of"),
        ({"do": "html", "call": "dance"}, "call: 'dance' is none of"),
        ({"do": "html", "when": "never"}, "when: 'never' is none of"),
        ({"do": "html", "tims": 3}, "a rule has no tims"),
        ({"do": "html", "seconds": "many"}, "seconds: 'many' is not"),
        ({"do": "html", "fields": 3}, "fields: 3 is not"),
        (3, "3 is no rule"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(rule)


@pytest.mark.parametrize("text", ["- {do: html, times: 2}", '[{"do": "html", "times": 2}]'])
def test_rules_are_read_from_yaml_and_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text(text)
    assert read(tmp_path / "rules") == [{"do": "html", "times": 2}]


def test_every_way_to_misbehave_has_a_test_here_or_with_the_cloud_that_alone_has_it() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_emulator_*.py"))
    assert [what for what in WHATS if not re.search(rf'"do": "{what}"', tests)] == []


def test_a_cloud_refuses_to_misbehave_in_a_way_that_it_does_not_know(call: Caller) -> None:
    with pytest.raises(ValueError, match="this cloud has no outbid"):
        call.cloud.misbehave({"do": "outbid"})


# Instead of the right answer


def test_a_rate_limit_tells_how_long_to_wait_only_when_it_is_told_so(call: Caller) -> None:
    call.cloud.misbehave({"do": "rate-limit", "times": 1, "retry_after": 3}, {"do": "rate-limit", "times": 1})
    told, silent, fine = (call("GET", "/pods") for _ in range(3))
    assert (told.status_code, told.headers["retry-after"], told.json()["title"]) == (429, "3", "Too Many Requests")
    assert (silent.status_code, "retry-after" in silent.headers) == (429, False)
    assert fine.status_code == 200


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
def test_a_server_error_comes_before_or_after_the_create_took_effect(call: Caller, when: str, created: int) -> None:
    call.cloud.misbehave({"do": "server-error", "call": "create", "when": when, "status": 502})
    assert call.create().status_code == 502
    assert len(call.pods()) == created


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
def test_a_reset_comes_before_or_after_the_create_took_effect(call: Caller, when: str, created: int) -> None:
    call.cloud.misbehave({"do": "reset", "call": "create", "when": when})
    with pytest.raises(httpx.ReadError):
        call.create()
    assert len(call.pods()) == created


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
def test_a_timeout_is_silence(call: Caller, when: str, created: int) -> None:
    call.cloud.misbehave({"do": "timeout", "call": "create", "when": when, "seconds": 60})
    with pytest.raises(httpx.ReadTimeout):
        call("POST", "/pods", new_pod(), timeout=0.2)
    assert len(call.pods()) == created


def test_html_is_a_web_page_with_status_200_or_another(call: Caller) -> None:
    call.cloud.misbehave({"do": "html", "times": 1}, {"do": "html", "times": 1, "status": 503})
    first, second = call("GET", "/pods"), call("GET", "/pods")
    assert (first.status_code, second.status_code) == (200, 503)
    assert first.headers["content-type"].startswith("text/html")
    assert "<html>" in first.text


def test_an_edge_block_is_a_403_web_page_with_1010(call: Caller) -> None:
    call.cloud.misbehave({"do": "edge-block"})
    blocked = call("GET", "/pods")
    assert (blocked.status_code, "1010" in blocked.text) == (403, True)


# The right answer, spoiled


def test_a_truncated_answer_is_no_json(call: Caller) -> None:
    call.cloud.misbehave({"do": "truncated", "call": "list"})
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        call("GET", "/pods").json()


def test_unknown_enum_gives_values_that_nobody_knows(call: Caller) -> None:
    call.create()
    call.cloud.misbehave({"do": "unknown-enum"})
    (pod,) = call.pods()
    assert pod["status"] == "HIBERNATING"
    (card, *_) = call("GET", "/catalog/gpus?include=AVAILABILITY&product=POD").json()["gpus"]
    assert (card["availability"], card["manufacturer"]) == ("HIBERNATING", "HIBERNATING")


def test_missing_fields_are_the_optional_ones_or_those_named(call: Caller) -> None:
    id_ = call.create().json()["id"]
    call.cloud.misbehave({"do": "missing-fields", "times": 1}, {"do": "missing-fields", "fields": ["id"]})
    sparse, named = call("GET", f"/pods/{id_}").json(), call("GET", f"/pods/{id_}").json()
    assert (sparse["id"], "runtime" in sparse) == (id_, False)
    assert ("id" in named["gpu"], "runtime" in named) == (False, True)


# Creates that are refused


def test_no_capacity_is_a_400_with_the_text_of_the_cloud(call: Caller) -> None:
    call.cloud.misbehave({"do": "no-capacity", "times": 1})
    refused, created = call.create(), call.create()
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("There are no longer any instances available with the requested spec")
    assert created.status_code == 201


def test_no_funds_is_a_402_or_what_is_told(call: Caller) -> None:
    call.cloud.misbehave({"do": "no-funds", "times": 1}, {"do": "no-funds", "status": 400})
    assert [call.create().status_code for _ in range(2)] == [402, 400]


def test_no_arrays_refuses_a_command_as_an_array_and_nothing_else(call: Caller) -> None:
    call.cloud.misbehave({"do": "no-arrays"})
    refused = call.create(entrypoint=["python3"], cmd=["-c", "1"])
    assert (refused.status_code, refused.json()["errors"]) == (
        422,
        ["$: additional properties 'entrypoint', 'cmd' not allowed"],
    )
    assert call.create(args='{"entrypoint": ["python3"], "cmd": ["-c", "1"]}').status_code == 201


def test_no_json_args_refuses_a_command_as_json_text(call: Caller) -> None:
    call.cloud.misbehave({"do": "no-json-args"})
    assert call.create(args='{"cmd": ["-c"]}').status_code == 422
    assert call.create(args="python3 -c 1").status_code == 201


# Lists and ends that are not to be believed


def test_a_list_that_lags_shows_what_was_there_before(call: Caller) -> None:
    old = call.create().json()["id"]
    call.cloud.clock.advance(60)
    new = call.create().json()["id"]
    call("DELETE", f"/pods/{old}")
    call.cloud.misbehave({"do": "list-lag", "seconds": 30, "times": 1})
    assert [pod["id"] for pod in call.pods()] == [old]
    assert [pod["id"] for pod in call.pods()] == [new]


def test_a_delete_that_says_500_works(call: Caller) -> None:
    id_ = call.create().json()["id"]
    call.cloud.misbehave({"do": "delete-500-works"})
    assert call("DELETE", f"/pods/{id_}").status_code == 500
    assert call("GET", f"/pods/{id_}").status_code == 404
    assert not call.cloud.bill()["resources"][0]["alive"]


def test_a_delete_that_says_204_may_do_nothing_and_the_bill_goes_on(call: Caller) -> None:
    id_ = call.create().json()["id"]
    call.cloud.misbehave({"do": "delete-204-stays", "times": 1})
    assert call("DELETE", f"/pods/{id_}").status_code == 204
    assert call("GET", f"/pods/{id_}").json()["status"] == "RUNNING"
    assert call.cloud.bill()["resources"][0]["alive"]
    assert call("DELETE", f"/pods/{id_}").status_code == 204
    assert call("GET", f"/pods/{id_}").status_code == 404


def test_a_locked_pod_is_deleted_unless_the_rule_says_that_it_is_refused(call: Caller) -> None:
    ids = [call.create().json()["id"] for _ in range(2)]
    for id_ in ids:
        assert call("PATCH", f"/pods/{id_}", {"locked": True}).json()["locked"]
    assert call("DELETE", f"/pods/{ids[0]}").status_code == 204
    call.cloud.misbehave({"do": "delete-locked"})
    assert call("DELETE", f"/pods/{ids[1]}").status_code == 409
    call("PATCH", f"/pods/{ids[1]}", {"locked": False})
    assert call("DELETE", f"/pods/{ids[1]}").status_code == 204


def test_a_deleted_pod_may_be_shown_a_little_longer_and_costs_nothing_more(call: Caller) -> None:
    id_ = call.create().json()["id"]
    call.cloud.misbehave({"do": "delete-lag", "seconds": 30})
    call("DELETE", f"/pods/{id_}")
    usd = call.cloud.bill()["usd"]
    assert (call("GET", f"/pods/{id_}").status_code, len(call.pods())) == (200, 1)
    call.cloud.clock.advance(31)
    assert (call("GET", f"/pods/{id_}").status_code, len(call.pods())) == (404, 0)
    assert call.cloud.bill()["usd"] == usd


# Hosts that are not to be believed


def test_a_pod_may_be_running_long_before_its_container_exists(call: Caller) -> None:
    call.cloud.misbehave({"do": "early-running", "seconds": 600})
    id_ = call.create().json()["id"]
    call.cloud.clock.advance(300)
    time.sleep(0.15)
    pod = call("GET", f"/pods/{id_}").json()
    assert (pod["status"], pod["runtime"]) == ("RUNNING", None)
    for _ in range(5):  # layers of the image
        call.cloud.clock.advance(120)
        time.sleep(0.06)
    until(lambda: call("GET", f"/pods/{id_}").json()["runtime"])


def test_a_host_may_never_boot_and_says_nothing(call: Caller) -> None:
    call.cloud.misbehave({"do": "never-boots", "times": 1})
    dead, alive = call.create().json()["id"], call.create().json()["id"]
    until(lambda: call("GET", f"/pods/{alive}").json()["runtime"])
    call.cloud.clock.advance(3600)
    assert call("GET", f"/pods/{dead}").json()["runtime"] is None
    container = call.cloud.pods.get(dead).container
    assert [line for line in container.log.lines() if line.source == "system"] == []


def test_a_crash_loop_starts_again_and_again_and_bills(call: Caller) -> None:
    call.cloud.misbehave({"do": "crash-loop"})
    id_ = call.create().json()["id"]
    container = call.cloud.pods.get(id_).container
    until(lambda: sum("start container for" in line.line for line in container.log.lines()) >= 2)
    assert call("GET", f"/pods/{id_}").json()["status"] == "RUNNING"
    assert call.cloud.bill()["resources"][0]["alive"]


def test_a_preempted_pod_is_stopped_by_the_cloud(call: Caller) -> None:
    call.cloud.misbehave({"do": "preempt", "seconds": 100})
    id_ = call.create().json()["id"]
    call.cloud.clock.advance(99)
    assert call("GET", f"/pods/{id_}").json()["status"] == "RUNNING"
    call.cloud.clock.advance(2)
    pod = call("GET", f"/pods/{id_}").json()
    assert (pod["status"], pod["actions"], pod["runtime"]) == ("EXITED", ["start", "terminate"], None)


def test_a_host_may_say_a_line_instead_of_starting_the_container(call: Caller) -> None:
    call.cloud.misbehave({"do": "system-line", "text": "error creating container: no space left on device"})
    id_ = call.create().json()["id"]
    log = call.cloud.pods.get(id_).container.log
    until(lambda: any("no space left" in line.line for line in log.lines()))
    assert call("GET", f"/pods/{id_}").json()["runtime"] is None
