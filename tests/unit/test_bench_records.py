"""What becomes of the load generator's records."""

import json
import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.bench.preparation import prompts_needed, timing_for
from gpu_cli.bench.pressure import Pressure, Timing
from gpu_cli.bench.prompts import WORDS, Prompt, prompts_of, random_prompts
from gpu_cli.bench.records import Request, level_of, read_record
from gpu_cli.bench.result import Load
from gpu_cli.bench.watch import Course, Patience, standing, why_give_up, why_not_whole
from gpu_cli.errors import UserError

FOUR = Pressure(concurrency=4)
TIMING = Timing(warm_up_s=5.0, window_s=30.0)
COURSE = Course(FOUR, TIMING, alone_s=1.0)
PATIENCE = Patience()


def request(
    started_at: float, latency_s: float = 2.0, *, first_token_s: float | None = 0.5, failure: str = ""
) -> Request:
    """Of 100 tokens, answered with 16 that come evenly after the first, the last of them at the end."""
    tokens_at = []
    if not failure and first_token_s is not None:
        tokens_at = [started_at + first_token_s + n * (latency_s - first_token_s) / 15 for n in range(16)]
    tokens = (0, 0) if failure else (100, 16)
    return Request(0, started_at, started_at, tokens_at, started_at + latency_s, *tokens, failure)


def in_a_row(seconds: float, latency_s: float = 2.0, *, lanes: int = 1) -> Sequence[Request]:
    """What so many callers do that ask again as soon as they are answered, each a little after the other."""
    each = range(int(seconds / latency_s) + 1)
    return [
        request(lane * latency_s / lanes + number * latency_s, latency_s) for lane in range(lanes) for number in each
    ]


def record(**changes: object) -> str:
    metadata = {
        "phase_index": 2,
        "credit_issued_ns": 9_000_000_000,
        "request_start_ns": 10_000_000_000,
        "request_end_ns": 13_000_000_000,
    }
    metrics = {
        "time_to_first_token": {"value": 250.0, "unit": "ms"},
        "inter_chunk_latency": {"value": [250.0, 2500.0], "unit": "ms"},
        "usage_prompt_tokens": {"value": 94, "unit": "tokens"},
        "usage_completion_tokens": {"value": 32, "unit": "tokens"},
    }
    return json.dumps({"metadata": metadata, "metrics": metrics, **changes})


def test_a_record_is_read_with_its_moments_and_the_tokens_that_the_server_counted() -> None:
    assert read_record(record()) == Request(2, 9.0, 10.0, array("d", [10.25, 10.5, 13.0]), 13.0, 94, 32, "")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ({"code": 503, "type": "Service Unavailable", "message": "busy"}, "HTTP 503"),
        ({"code": None, "type": "ClientConnectorError", "message": "x"}, "no connection"),
        ({"type": "ServerDisconnectedError", "message": "x"}, "cut off"),
        ({"type": "SomethingNew", "message": "x"}, "SomethingNew"),
    ],
)
def test_a_failed_request_has_a_short_reason_and_no_tokens(error: dict[str, object], word: str) -> None:
    read = read_record(record(error=error))
    assert (read.failure, read.input_tokens, read.output_tokens, list(read.tokens_at)) == (word, 0, 0, [])


def test_an_answer_whose_tokens_the_server_does_not_tell_is_no_answer() -> None:
    assert read_record(record(metrics={"time_to_first_token": {"value": 250.0}})).failure == "no usage"


def test_the_rate_is_that_of_the_window_and_not_of_the_start_or_the_end() -> None:
    level = level_of(in_a_row(35, lanes=4), FOUR, TIMING)
    assert level.seconds == 30
    assert level.output_tokens_per_s == pytest.approx(4 * 16 / 2, rel=0.01)
    assert level.total_tokens_per_s == pytest.approx(4 * 116 / 2, rel=0.01)
    assert level.requests in (60, 61)


def test_a_request_counts_by_when_its_tokens_came() -> None:
    begins_before = request(3.55)  # of its 16 tokens between 4.05 and 5.55 six come in the window
    ends_after = request(34.05)  # of its 16 tokens between 34.55 and 36.05 five
    level = level_of([request(0.0), begins_before, ends_after], FOUR, TIMING)
    assert (level.requests, level.input_tokens, level.output_tokens) == (1, 100, 11)


def test_without_streaming_tokens_are_spread_over_the_whole_request() -> None:
    level = level_of([request(0.0, 10.0, first_token_s=None)], FOUR, TIMING)
    assert (level.input_tokens, level.output_tokens) == (50, 8)
    assert level.time_to_first_token_s is None
    assert level.inter_token_latency_s is None
    assert level.latency_s is not None


def test_latencies_are_of_all_requests_that_overlap_where_each_takes_longer_than_the_window() -> None:
    level = level_of([request(0.0, 60.0)], FOUR, TIMING)
    assert level.requests == 1
    assert level.latency_s is not None
    assert level.latency_s.median == 60.0


def test_failures_are_counted_by_reason_and_add_no_tokens() -> None:
    level = level_of([*in_a_row(35), *(request(10.0 + s, failure="HTTP 503") for s in range(3))], FOUR, TIMING)
    assert level.errors == {"HTTP 503": 3}
    assert level.output_tokens_per_s == pytest.approx(8, rel=0.01)


def test_a_partial_level_ends_with_its_last_answer() -> None:
    level = level_of([*in_a_row(16), request(20.0, failure="cut off")], FOUR, TIMING, "it died")
    assert level.partial == "it died"
    assert level.seconds == 13  # from 5 to 18
    assert level.output_tokens_per_s == pytest.approx(8, rel=0.05)


def test_a_level_that_ended_in_its_warm_up_is_taken_as_a_whole() -> None:
    level = level_of([request(0.0), request(2.0)], FOUR, TIMING, "it died")
    assert (level.seconds, level.requests, level.output_tokens) == (4, 2, 32)


def test_a_level_without_any_answer_has_no_figures() -> None:
    level = level_of([], FOUR, TIMING, "it died")
    assert (level.requests, level.output_tokens_per_s, level.latency_s) == (0, 0, None)
    assert level.usd_per_million_output_tokens(2.0) is None


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=50))
def test_percentiles_lie_between_the_least_and_the_greatest_in_order(latencies: list[float]) -> None:
    spread = level_of([request(0.0, latency) for latency in latencies], FOUR, Timing(0.0, 30.0)).latency_s
    assert spread is not None
    ordered = [min(latencies), spread.median, spread.p90, spread.p99, max(latencies)]
    assert all(a <= b or math.isclose(a, b) for a, b in pairwise(ordered))


@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0.6, 50), st.booleans()), min_size=1, max_size=20),
    st.floats(0.1, 34.9),
)
def test_no_window_counts_tokens_that_were_not_made_and_two_windows_count_as_much_as_both(
    given: list[tuple[float, float, bool]], cut: float
) -> None:
    requests = [request(0.0)] + [request(at, s, first_token_s=0.5 if streams else None) for at, s, streams in given]
    whole = level_of(requests, FOUR, Timing(0.0, 35.0))
    first, second = (level_of(requests, FOUR, timing) for timing in (Timing(0.0, cut), Timing(cut, 35.0 - cut)))
    assert whole.output_tokens <= 16 * len(requests)
    assert abs(first.output_tokens + second.output_tokens - whole.output_tokens) <= 2
    assert abs(first.input_tokens + second.input_tokens - whole.input_tokens) <= 2


def give_up(requests: Sequence[Request], *, now: float, quiet_s: float = 0.0, begun: bool = True) -> str:
    return why_give_up(COURSE, PATIENCE, requests, now=now, quiet_s=quiet_s, begun=begun)


def test_a_server_that_answers_is_waited_for() -> None:
    assert give_up(in_a_row(20), now=20.0, quiet_s=2.0) == ""


def test_a_silent_server_is_given_up_after_a_minute_and_three_times_its_slowest_answer() -> None:
    slow = [request(0.0, 20.0)]
    assert give_up(slow, now=30.0, quiet_s=110.0) == ""
    assert give_up(slow, now=30.0, quiet_s=121.0) == "no answer for 121 s"


def test_before_the_first_answer_the_generator_has_time_to_start_and_the_server_to_take_one_by_one() -> None:
    assert give_up([], now=0.0, quiet_s=190.0, begun=False) == ""
    assert give_up([], now=0.0, quiet_s=193.0, begun=False)
    assert give_up([], now=0.0, quiet_s=73.0)


def test_a_server_that_only_fails_is_given_up_and_one_that_fails_at_times_is_not() -> None:
    failures = [request(10.0 + n, 1.0, failure="HTTP 500") for n in range(12)]
    assert give_up([*in_a_row(8), *failures], now=22.0) == "every request fails: HTTP 500"
    assert give_up([*in_a_row(8), *failures, request(22.0)], now=25.0) == ""
    assert give_up(failures[:3], now=13.0) == ""
    blip = [request(10.0 + n / 10, 0.1, failure="no connection") for n in range(40)]
    assert give_up([*in_a_row(8), *blip], now=15.0) == ""


def test_a_level_is_not_whole_when_the_server_had_ceased_to_answer_at_its_end() -> None:
    failures = [request(30.0 + n / 10, 0.1, failure="no connection") for n in range(10)]
    assert why_not_whole(COURSE, in_a_row(35)) == ""
    assert why_not_whole(COURSE, [*in_a_row(29), *failures[:9]]) == ""
    assert why_not_whole(COURSE, [*in_a_row(29), *failures]) == "every request fails: no connection"
    assert why_not_whole(COURSE, failures[:1]) == "every request fails: no connection"


def test_requests_that_do_not_come_to_an_end_are_given_up() -> None:
    assert give_up(in_a_row(34), now=94.0) == ""
    assert give_up(in_a_row(34), now=96.0) == "requests were unfinished 61 s after the last one was sent"


def test_it_is_told_how_far_a_level_is() -> None:
    told = standing(COURSE, [request(0.0), request(2.0), request(4.0, failure="cut off")], now=8.0)
    assert (told.answered, told.failed, told.remaining_s) == (2, 1, 27.0)
    assert told.output_tokens_per_s == 4.0


def test_the_warm_up_is_long_enough_for_one_request_but_no_longer_than_the_window() -> None:
    load = Load(1024, 256, "", streaming=True, duration_s=30.0)
    assert [timing_for(load, alone_s).warm_up_s for alone_s in (0.1, 8.0, 100.0)] == [5.0, 8.0, 30.0]


def test_there_are_enough_prompts_that_none_comes_twice() -> None:
    pressures = [Pressure(concurrency=2), Pressure(rate_per_s=3.0)]
    assert prompts_needed(pressures, TIMING, 0.5, input_tokens=100) >= 35 * 2 / 0.5 + 35 * 3
    assert prompts_needed(pressures, TIMING, 0.001, input_tokens=100) == 5_000_000 / 100
    assert prompts_needed(pressures, TIMING, 100.0, input_tokens=100_000) == 100


def test_random_prompts_begin_differently() -> None:
    prompts = random_prompts(200, words=50, output_tokens=8, randomness=Random(1))
    assert len({tuple(prompt.text.split()[:4]) for prompt in prompts}) == 200
    assert {len(prompt.text.split()) for prompt in prompts} == {50}
    assert set(prompts[0].text.split()) <= set(WORDS)


def test_a_dataset_is_a_line_of_json_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "Why?", "output_tokens": 20}\n\n{"text": "How\u2028?"}\n')
    assert list(prompts_of(file, None)) == [Prompt("Why?", 20), Prompt("How\u2028?", None)]
    assert list(prompts_of(file, 7)) == [Prompt("Why?", 20), Prompt("How\u2028?", 7)]


def test_of_sharegpt_the_first_question_is_asked(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because it is so."}]
    file = tmp_path / "sharegpt.json"
    file.write_text(json.dumps([{"id": "1", "conversations": said}, {"id": "2", "conversations": said[1:]}]))
    assert list(prompts_of(file, None)) == [Prompt("Why?", 4)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has no prompts"),
        ("{", "Expecting property name"),
        ('{"prompt": "a"}\n{"question": "b"}', "line 2 has neither"),
        ('{"prompt": "a"}\n\n{"prompt"', "line 3: "),
        ('{"prompt": "a", "output_tokens": 0}', "output_tokens is 0"),
    ],
)
def test_a_dataset_that_cannot_be_used_is_refused_with_the_entry(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        prompts_of(file, None)
    assert why in refused.value.message
    assert "\n" not in refused.value.message
