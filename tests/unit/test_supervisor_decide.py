"""The supervisor's judgement: pure functions, so every rule about ending is shown without waiting."""

import ast
import http.client
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engine import metrics_text
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Reply, ScriptedServer, said

import supervisor as sup
from gpu_cli.paths import shipped

LIMITS = sup.Limits(idle_s=900, deadline_s=86400, start_deadline_s=1800, hung_s=600)
SERVING = sup.Seen(
    elapsed_s=100, loading_s=None, idle_s=0, silent_s=0, stuck_s=0, working=False, engine_exit=None, terminated=False
)
LOADING = replace(SERVING, loading_s=10)

seconds = st.floats(min_value=0, max_value=1e6)
anything = st.builds(
    sup.Seen,
    elapsed_s=seconds,
    loading_s=st.none() | seconds,
    idle_s=seconds,
    silent_s=seconds,
    stuck_s=seconds,
    working=st.booleans(),
    engine_exit=st.none() | st.integers(-64, 255),
    terminated=st.booleans(),
)


def reason(seen: sup.Seen) -> str | None:
    end = sup.decide(LIMITS, seen)
    return end.reason.value if end else None


# --- decide ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (SERVING, None),
        (replace(SERVING, idle_s=899.9), None),
        (replace(SERVING, idle_s=900), "idle"),
        (replace(SERVING, idle_s=900, working=True), None),
        (replace(SERVING, elapsed_s=86399.9), None),
        (replace(SERVING, elapsed_s=86400), "deadline"),
        (replace(SERVING, elapsed_s=86400, working=True), "deadline"),
        (replace(LOADING, elapsed_s=86400), "deadline"),
        (replace(LOADING, loading_s=1799.9), None),
        (replace(LOADING, loading_s=1800), "start-deadline"),
        (replace(LOADING, silent_s=1e5, stuck_s=1e5, idle_s=1e5), None),
        (replace(SERVING, silent_s=599.9), None),
        (replace(SERVING, silent_s=600), "engine-hung"),
        (replace(SERVING, stuck_s=600, working=True), "engine-hung"),
        (replace(SERVING, engine_exit=0), "engine-died"),
        (replace(LOADING, engine_exit=1), "engine-died"),
        (replace(SERVING, terminated=True), "terminated"),
        (replace(LOADING, terminated=True, engine_exit=1, elapsed_s=1e6), "terminated"),
    ],
)
def test_each_rule_ends_it_at_its_limit_and_not_before(seen: sup.Seen, expected: str | None) -> None:
    assert reason(seen) == expected


@given(anything)
def test_past_the_deadline_it_always_ends(seen: sup.Seen) -> None:
    assert reason(replace(seen, elapsed_s=LIMITS.deadline_s + seen.elapsed_s)) is not None


@given(anything)
def test_a_dead_engine_never_bills_on(seen: sup.Seen) -> None:
    assert reason(replace(seen, engine_exit=seen.engine_exit or 0)) in ("engine-died", "terminated")


@given(anything, seconds)
def test_loading_is_neither_idle_nor_hung(seen: sup.Seen, loading_s: float) -> None:
    assert reason(replace(seen, loading_s=loading_s)) not in ("idle", "engine-hung")


@given(anything)
def test_work_is_never_idleness(seen: sup.Seen) -> None:
    assert reason(replace(seen, working=True)) != "idle"


@given(anything)
def test_within_every_limit_it_never_ends(seen: sup.Seen) -> None:
    calm = replace(
        seen,
        elapsed_s=seen.elapsed_s % LIMITS.deadline_s,
        loading_s=None if seen.loading_s is None else seen.loading_s % LIMITS.start_deadline_s,
        idle_s=seen.idle_s % LIMITS.idle_s,
        silent_s=seen.silent_s % LIMITS.hung_s,
        stuck_s=seen.stuck_s % LIMITS.hung_s,
        engine_exit=None,
        terminated=False,
    )
    assert reason(calm) is None


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exit status 0"), (3, "exit status 3"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")],
)
def test_engine_exit_is_told_as_people_say_it(status: int, text: str) -> None:
    assert sup.describe_exit(status) == text


# --- what is seen over time ------------------------------------------------------------------------------------------


def answer(at_s: float, **counts: int) -> sup.Metrics:
    return sup.parse_metrics(metrics_text(**counts), at_s)


class Watch:
    """A track advanced look by look, one second apart unless told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.track = sup.Track(looked_s=self.now_s)
        self.last: sup.Metrics | None = None

    def look(self, *, ready: bool = True, step_s: float = 1.0, **counts: int) -> sup.Track:
        self.now_s += step_s
        self.last = answer(self.now_s, **counts)
        self.track = sup.advance(self.track, ready=ready, metrics=self.last, now_s=self.now_s)
        return self.track

    def silence(self, *, step_s: float = 1.0) -> sup.Track:
        self.now_s += step_s
        self.track = sup.advance(self.track, ready=True, metrics=self.last, now_s=self.now_s)
        return self.track


def test_idle_clock_starts_at_readiness() -> None:
    watch = Watch()
    for _ in range(50):
        assert watch.look(ready=False).idle_s() == 0
    assert watch.look().idle_s() == 0
    assert watch.look().idle_s() == 1


@pytest.mark.parametrize("work", [{"running": 1}, {"waiting": 1}, {"finished": 1}, {"tokens": 1}])
def test_every_kind_of_work_restarts_the_idle_clock(work: dict[str, int]) -> None:
    watch = Watch()
    watch.look()
    assert watch.look(step_s=100).idle_s() == 100
    assert watch.look(step_s=100, **work).idle_s() == 0


def test_request_that_came_and_went_between_two_looks_is_work() -> None:
    watch = Watch()
    watch.look(finished=5, tokens=70)
    watch.look(finished=5, tokens=70, step_s=100)
    assert watch.look(finished=6, tokens=90).idle_s() == 0
    assert watch.look(finished=6, tokens=90).idle_s() == 1


@given(st.lists(st.floats(min_value=0.01, max_value=1e5), max_size=20))
def test_silence_never_adds_to_idleness(steps: list[float]) -> None:
    watch = Watch()
    watch.look()
    before = watch.look(step_s=10)
    for step_s in steps:
        after = watch.silence(step_s=step_s)
        assert after.idle_s() == before.idle_s()


def test_after_silence_the_next_answer_proves_idleness_or_work() -> None:
    for counts, idle_s in (({}, 301), ({"tokens": 1}, 0)):
        watch = Watch()
        watch.look()
        watch.silence(step_s=300)
        assert watch.look(**counts).idle_s() == idle_s
        assert watch.track.silent_s == 0


def test_silence_is_counted_look_by_look_so_that_a_sleeping_machine_is_not_a_hung_engine() -> None:
    watch = Watch()
    watch.look()
    for _ in range(30):
        watch.silence()
    assert watch.track.silent_s == 30
    watch.silence(step_s=8 * 3600)
    assert watch.track.silent_s <= 30 + sup.LONGEST_STEP_S


def test_claimed_work_that_does_not_move_is_stuck_until_anything_moves() -> None:
    watch = Watch()
    watch.look(running=1, tokens=5)
    for _ in range(40):
        watch.look(running=1, tokens=5)
    assert watch.track.stuck_s == 40
    assert watch.track.idle_s() == 0
    watch.look(running=1, tokens=6)
    assert watch.track.stuck_s == 0


def test_idle_engine_is_never_stuck() -> None:
    watch = Watch()
    for _ in range(40):
        watch.look()
    assert watch.track.stuck_s == 0


def test_silence_before_readiness_does_not_count() -> None:
    track = sup.Track(looked_s=0)
    for now_s in range(100):
        track = sup.advance(track, ready=False, metrics=None, now_s=now_s)
    assert track.silent_s == 0
    assert sup.advance(track, ready=True, metrics=None, now_s=101).silent_s <= 2


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_are_summed_over_their_labels() -> None:
    text = (
        'vllm:num_requests_running{engine="0",model_name="a } b"} 2.0\n'
        'vllm:num_requests_running{engine="1",model_name="a"} 1.0\n'
        "vllm:num_requests_waiting 4.0 1795260454000\n"
        'vllm:request_success_total{finished_reason="stop"} 1e+03\n'
        'vllm:request_success_total{finished_reason="abort"} 2\n'
        "vllm:request_success_created 1.79e+09\n"
        'vllm:iteration_tokens_total_bucket{le="+Inf"} 7\n'
        "vllm:kv_cache_usage_perc NaN\n"
        "process_cpu_seconds_total 7.7\n"
    )
    metrics = sup.parse_metrics(text, at_s=1)
    assert (metrics.running, metrics.waiting, metrics.finished) == (3, 4, 1002)
    assert set(metrics.totals) == {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:request_success_total",
    }


@pytest.mark.parametrize("text", ["", "<html>", "vllm:num_requests_running NaN\n", "process_cpu_seconds_total 7.7\n"])
def test_answer_that_does_not_tell_what_runs_is_no_answer(text: str) -> None:
    with pytest.raises(sup.NotServing, match="num_requests_running"):
        sup.parse_metrics(text, at_s=1)


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("40960, 81920\n", sup.Memory(40.0, 80.0)),
        ("1024, 24576\n512, 24576\n", sup.Memory(1.5, 48.0)),
        ("[N/A], [N/A]\n", None),
        ("1024, 24576\n[Insufficient Permissions], 24576\n", None),
        ("No devices were found\n", None),
        ("", None),
    ],
)
def test_memory_is_that_of_all_cards_or_of_none(text: str, memory: "sup.Memory | None") -> None:
    assert sup.parse_memory(text) == memory


# --- the record ------------------------------------------------------------------------------------------------------

RECORD = sup.Record("gpu-a", elapsed_s=500, boot_id="b1", uptime_s=2000, wall_s=1_700_000_000, started_at=1_699_999_500)


def test_restart_in_the_same_boot_adds_the_pause_and_ignores_the_wall_clock() -> None:
    for wall_s in (0.0, 1_700_000_030.0, 2e9):
        assert RECORD.elapsed_now(boot="b1", now_s=2030, wall_s=wall_s) == 530


def test_restart_after_a_reboot_adds_the_wall_clocks_pause() -> None:
    assert RECORD.elapsed_now(boot="b2", now_s=5, wall_s=RECORD.wall_s + 60) == 560
    assert replace(RECORD, boot_id="").elapsed_now(boot="", now_s=5, wall_s=RECORD.wall_s + 60) == 560


@given(boot=st.sampled_from(["", "b1", "b2"]), now_s=st.floats(0, 1e10), wall_s=st.floats(0, 1e10))
def test_no_clock_gives_time_back(boot: str, now_s: float, wall_s: float) -> None:
    assert RECORD.elapsed_now(boot=boot, now_s=now_s, wall_s=wall_s) >= RECORD.elapsed_s


@pytest.mark.parametrize("ending", [None, sup.End(sup.Reason.DEADLINE, "86400 s since the start")])
def test_record_reads_back_as_written(ending: sup.End | None) -> None:
    record = replace(RECORD, ending=ending)
    assert sup.Record.from_json(json.dumps(record.to_json())) == record


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"elapsed_s": -1},
        {"elapsed_s": math.nan},
        {"elapsed_s": "soon"},
        {"elapsed_s": None},
        {"elapsed_s": 10**400},
        {"wall_s": math.inf},
        {"boot_id": None, "uptime_s": []},
        {"ending": {"reason": "bored", "detail": ""}},
        {"ending": {"reason": "idle"}},
        {"ending": 3},
        {"ending": False},
    ],
)
def test_record_that_was_not_written_by_us_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        sup.Record.from_json(json.dumps({**RECORD.to_json(), **change}))


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)).map(json.dumps))
def test_no_content_of_the_record_is_more_than_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        sup.Record.from_json(text)


@given(st.floats(0, 1e9))
def test_without_a_record_the_time_since_the_order_is_used_up(ordered_s_ago: float) -> None:
    now = time.time()
    record = sup.load_record(Path("/nowhere/supervisor.json"), "gpu-a", now - ordered_s_ago)
    assert record.elapsed_s == pytest.approx(ordered_s_ago, abs=5)
    assert record.started_at == now - ordered_s_ago


@pytest.mark.parametrize("ahead_s", [10.0, 1e6])
def test_an_order_that_is_still_to_come_counts_as_now(ahead_s: float) -> None:
    record = sup.load_record(Path("/nowhere/supervisor.json"), "gpu-a", time.time() + ahead_s)
    assert record.elapsed_s == 0
    assert sup.load_record(Path("/nowhere/supervisor.json"), "gpu-a").elapsed_s == 0


def test_a_record_counts_for_more_than_the_order(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.json"
    record = sup.Record("gpu-a", 500, sup.boot_id(), sup.uptime_s(), time.time(), started_at=1_699_999_500)
    path.write_text(json.dumps(record.to_json()))
    assert sup.load_record(path, "gpu-a", time.time()).elapsed_s == pytest.approx(500, abs=5)


# --- configuration ---------------------------------------------------------------------------------------------------

DESTROY: dict[str, Any] = {
    "method": "DELETE",
    "url": "https://cloud.example/pods/{POD_ID}",
    "headers": {"Authorization": "Bearer {CLOUD_KEY}"},
    "body": "",
    "check": {"method": "GET", "url": "https://cloud.example/pods/{POD_ID}"},
    "gone": [[404, "no_such_pod"], [410, ""]],
    "user_agent": "gpu-supervisor/1",
}
CONFIG: dict[str, Any] = {
    "version": 1,
    "name": "gpu-a",
    "engine": ["python", "-m", "engine"],
    "port": 8000,
    "scheme": "http",
    "idle_s": 900,
    "deadline_s": 86400,
    "start_deadline_s": 1800,
    "hung_s": 600,
    "state_dir": "/state",
    "destroy": DESTROY,
    "engine_env_without": ["CLOUD_KEY"],
}


def test_configuration_is_read() -> None:
    config = sup.parse_config(json.dumps(CONFIG))
    assert config.limits == LIMITS
    assert config.base_url == "http://127.0.0.1:8000"
    assert (config.tick_s, config.grace_s) == (1.0, 15.0)
    assert config.destroy
    assert config.destroy.says_gone(404, b'{"error": "no_such_pod"}')
    assert config.destroy.variables() == ("CLOUD_KEY", "POD_ID")


@pytest.mark.parametrize(
    "change",
    [
        *({key: None} for key in CONFIG if key != "destroy"),
        {"version": 2},
        {"engine": []},
        {"engine": ["python", 3]},
        {"engine": "python"},
        {"port": 0},
        {"port": True},
        {"port": "8000"},
        {"scheme": "ftp"},
        {"idle_s": 0},
        {"idle_s": -1},
        {"idle_s": "900"},
        {"deadline_s": math.inf},
        {"deadline_s": math.nan},
        {"deadline_s": 10**400},
        {"deadline": 3},
        {"launched_at": "now"},
        {"launched_at": -1},
        {"launched_at": math.nan},
        {"destroy": []},
        {"destroy": {**DESTROY, "url": "file:///etc/passwd"}},
        {"destroy": {**DESTROY, "check": None}},
        {"destroy": {**DESTROY, "chekc": {}}},
        {"destroy": {**DESTROY, "body": None}},
        {"destroy": {**DESTROY, "body": {"id": "{POD_ID}"}}},
        {"destroy": {**DESTROY, "body": '{"id": {POD_ID}}'}},
        {"destroy": {**DESTROY, "body": "[" * 100_000}},
        {"destroy": {**DESTROY, "gone": []}},
        {"destroy": {**DESTROY, "gone": [404]}},
        {"destroy": {**DESTROY, "gone": [["404", ""]]}},
        {"destroy": {**DESTROY, "gone": [[404, ""], [True, ""]]}},
        {"destroy": {**DESTROY, "gone": [[404, "", ""]]}},
        {"destroy": {**DESTROY, "gone": [[404, "no_such("]]}},
        {"destroy": {**DESTROY, "gone": [[404, "a{99999999999}"]]}},
    ],
)
def test_configuration_with_a_mistake_is_refused_in_one_line(change: Mapping[str, object]) -> None:
    with pytest.raises(sup.BadConfig) as refused:
        sup.parse_config(json.dumps({**CONFIG, **change}))
    assert "\n" not in str(refused.value)
    assert "GPU_SUPERVISOR" in str(refused.value)


@given(st.text())
def test_no_text_as_configuration_is_more_than_a_bad_configuration(text: str) -> None:
    with pytest.raises(sup.BadConfig):
        sup.parse_config(text)


# --- destroying ------------------------------------------------------------------------------------------------------


def test_an_hour_of_failures_does_not_stop_the_destroying() -> None:
    waits: list[float] = []
    told: list[str] = []
    sup.destroy_until_gone(
        lambda: "DELETE answered 500" if sum(waits) < 3600 else "", sleep=waits.append, tell=told.append
    )
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(waits[6:]) == {60}
    assert sum(waits) >= 3600
    assert all("DELETE answered 500" in text for text in told)


def test_a_cloud_that_refuses_for_good_does_not_keep_the_container_running_and_billed() -> None:
    waits: list[float] = []
    told: list[str] = []
    sup.destroy_until_gone(lambda: "DELETE answered 401", sleep=waits.append, tell=told.append)
    assert sup.DESTROY_S <= sum(waits) < sup.DESTROY_S + sup.LONGEST_BACKOFF_S
    assert "DELETE answered 401; exiting all the same" in told[-1]


def test_variables_are_put_in_at_call_time() -> None:
    call = sup.Call("DELETE", "https://cloud.example/pods/{POD_ID}", {"Authorization": "Bearer {CLOUD_KEY}"})
    filled = sup.fill(call, {"POD_ID": "p1", "CLOUD_KEY": "k1"})
    assert (filled.url, filled.headers["Authorization"]) == ("https://cloud.example/pods/p1", "Bearer k1")


def test_variables_in_a_body_are_put_into_its_texts_and_its_braces_stay() -> None:
    destroy = destroy_of(body='{"instance_ids": ["{POD_ID}"], "why": {}}')
    filled = sup.fill(destroy.call, {"CLOUD_KEY": "k1", "POD_ID": 'p"1}'})
    assert json.loads(filled.body) == {"instance_ids": ['p"1}'], "why": {}}
    assert filled.headers["Content-Type"] == "application/json"


@given(value=st.text())
def test_no_value_of_a_variable_changes_what_a_body_says(value: str) -> None:
    call = sup.Call("POST", "https://cloud.example", {}, '{"ids": ["{POD_ID}"]}')
    assert json.loads(sup.fill(call, {"POD_ID": value}).body) == {"ids": [value]}


def test_a_body_is_sent_as_json_with_the_call_and_not_with_the_check() -> None:
    with ScriptedServer(said({"data": {}}), said({"error": "no_such_pod"}, 404)) as cloud:
        post = {"method": "POST", "url": f"{cloud.url}/terminate", "body": '{"ids": ["{POD_ID}"]}'}
        destroy = destroy_of(**post, check={"method": "GET", "url": f"{cloud.url}/pods/{{POD_ID}}"})
        assert sup.try_to_destroy(destroy, {"CLOUD_KEY": "k1", "POD_ID": "p1"}) == ""
    call, check = cloud.asked
    assert (call.method, call.path, call.body) == ("POST", "/terminate", {"ids": ["p1"]})
    assert call.headers["content-type"] == "application/json"
    assert (check.method, check.path, check.headers.get("content-length")) == ("GET", "/pods/p1", None)
    assert "content-type" not in check.headers


def test_without_a_body_nothing_is_said_of_its_type() -> None:
    assert "Content-Type" not in destroy_of().call.headers


def destroy_of(**changes: object) -> sup.Destroy:
    destroy = sup.parse_config(json.dumps({**CONFIG, "destroy": {**DESTROY, **changes}})).destroy
    assert destroy
    return destroy


@pytest.mark.parametrize("missing", ["CLOUD_KEY", "POD_ID"])
def test_a_variable_that_is_missing_or_empty_is_named(missing: str) -> None:
    environ = {"CLOUD_KEY": "k1", "POD_ID": "p1"}
    assert sup.why_powerless(destroy_of(), environ) == ""
    assert sup.why_powerless(destroy_of(), {**environ, missing: ""}) == f"{missing} not set in this container"
    del environ[missing]
    assert missing in sup.why_powerless(destroy_of(), environ)


def test_a_variable_that_only_the_body_needs_is_named_too() -> None:
    destroy = destroy_of(body='{"ids": ["{MACHINE}"]}')
    assert sup.why_powerless(destroy, {"CLOUD_KEY": "k1", "POD_ID": "p1"}) == "MACHINE not set in this container"


def test_values_of_variables_are_never_told() -> None:
    problem = sup.try_to_destroy(destroy_of(), {"CLOUD_KEY": "bad\nvalue-of-key", "POD_ID": "p 1"})
    assert problem
    assert "value-of-key" not in problem
    assert "p 1" not in problem


@pytest.mark.parametrize(
    ("status", "body", "gone"),
    [
        (404, b'{"success": false, "error": "no_such_instance"}', True),
        (404, b'{"success": false, "error": "auth_error", "msg": "Invalid user key"}', False),
        (404, b"", False),
        (200, b'{"instances" : null}', True),
        (200, b'{"instances": {"id": 7, "label": null}}', False),
        (200, b'{"success": true}', False),
        (500, b"no_such_instance", False),
        (410, b"\xff\x00", True),
    ],
)
def test_gone_is_a_status_together_with_what_the_body_says(status: int, body: bytes, gone: bool) -> None:
    table = [[404, "no_such_instance"], [200, r'"instances"\s*:\s*null'], [410, ""]]
    assert destroy_of(gone=table).says_gone(status, body) is gone


def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sup, "LARGEST_BODY", 10)
    with ScriptedServer(Reply(200, "x" * 1000, stay_s=0.01)) as server:
        assert sup.fetch(sup.Call("GET", f"{server.url}/", {})) == (200, b"x" * 10)


@pytest.mark.parametrize("cut", [None, 0, 4], ids=["too large", "empty", "cut off"])
def test_an_answer_that_is_not_whole_is_none(monkeypatch: pytest.MonkeyPatch, cut: int | None) -> None:
    monkeypatch.setattr(sup, "LARGEST_BODY", 10)
    reply = Reply(200, "x" * (1000 if cut is None else 8), cut=cut)
    not_whole = (http.client.IncompleteRead, ConnectionError)
    with ScriptedServer(reply) as server, pytest.raises(not_whole):
        sup.fetch(sup.Call("GET", f"{server.url}/", {}))


# --- what runs on the node -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["supervisor.py", "guard_middleware.py", "bootstrap.py", "engine_start.py"])
def test_node_code_is_python_39_and_the_standard_library_only(name: str) -> None:
    tree = ast.parse((shipped("templates") / name).read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported
    assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names


def test_node_code_is_found_where_the_product_looks_for_it() -> None:
    assert Path(sup.__file__).samefile(shipped("templates") / "supervisor.py")
