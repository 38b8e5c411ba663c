"""What is read off an engine's metrics, and what two readings say together."""

from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, deployment
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gpu_cli.fleet.gauges.exposition import BadMetrics, read_samples
from gpu_cli.fleet.gauges.readings import GpuMemory, Reading, gauges_of, reading_of

REAL = (Path(__file__).parent / "data" / "vllm-0.32.0-metrics.txt").read_text()
NEEDED = """\
vllm:num_requests_running{engine="0"} 2.0
vllm:num_requests_waiting{engine="0"} 1.0
vllm:prompt_tokens_total{engine="0"} 100.0
vllm:generation_tokens_total{engine="0"} 200.0
"""
BEFORE = Reading(
    NOW,
    2,
    0,
    input_tokens=1000,
    output_tokens=500,
    kv_cache_used=0.5,
    prefix_queries=800,
    prefix_hits=200,
    preemptions=3,
)
LATER = Reading(
    NOW + 2,
    3,
    1,
    input_tokens=1200,
    output_tokens=530,
    kv_cache_used=0.6,
    prefix_queries=900,
    prefix_hits=275,
    preemptions=4,
)

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.dictionaries(st.text(max_size=8), finite, min_size=1, max_size=5))
def test_series_are_read_as_the_client_library_wrote_them_whatever_their_labels_say(series: dict[str, float]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("vllm:thing", "Help {with} 1.0", ["model_name"], registry=registry)
    for label, value in series.items():
        gauge.labels(label).set(value)
    samples = read_samples(generate_latest(registry).decode())
    assert list(samples.values["vllm:thing"]) == list(series.values())
    assert samples.needed("vllm:thing") == sum(series.values())


def test_a_real_answer_is_read_as_the_client_library_reads_it() -> None:
    theirs: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(REAL):
        for sample in family.samples:
            theirs.setdefault(sample.name, []).append(sample.value)
    assert read_samples(REAL).values == {name: values for name, values in theirs.items() if name.startswith("vllm:")}


def test_a_real_answer_has_all_that_is_judged() -> None:
    assert reading_of(read_samples(REAL), NOW) == Reading(
        NOW,
        running=0,
        waiting=0,
        input_tokens=4037,
        output_tokens=1538,
        kv_cache_used=0,
        prefix_queries=4037,
        prefix_hits=0,
        preemptions=0,
    )


@pytest.mark.parametrize("line", NEEDED.splitlines())
def test_what_every_vllm_counts_is_needed_and_the_rest_is_not_taken_for_nothing(line: str) -> None:
    assert reading_of(read_samples(NEEDED), NOW) == Reading(NOW, 2, 1, input_tokens=100, output_tokens=200)
    with pytest.raises(BadMetrics, match=line.partition("{")[0]):
        reading_of(read_samples(NEEDED.replace(line, "")), NOW)


def test_what_is_not_finite_says_nothing_and_a_timestamp_is_no_value() -> None:
    text = 'vllm:x{a="1"} NaN\nvllm:x{a="2"} +Inf\nvllm:x{a="3"} 2.5e+01 1700000000000\nvllm:y -Inf\n'
    assert read_samples(text).values == {"vllm:x": [25.0]}


def test_a_value_that_is_no_number_is_no_zero() -> None:
    with pytest.raises(BadMetrics, match="vllm:x that is no number"):
        read_samples("vllm:x 1.2.3\n")


def test_names_from_before_they_were_changed_are_known_and_count_once() -> None:
    old = NEEDED + (
        "vllm:gpu_cache_usage_perc 0.5\nvllm:gpu_prefix_cache_queries_total 8\nvllm:gpu_prefix_cache_hits_total 2\n"
    )
    both = old + old.replace("gpu_cache_usage", "kv_cache_usage").replace("gpu_prefix", "prefix")
    for text in (old, both.replace(NEEDED, "", 1)):
        reading = reading_of(read_samples(text), NOW)
        assert (reading.kv_cache_used, reading.prefix_queries, reading.prefix_hits) == (0.5, 8, 2)


def test_of_several_engines_the_work_is_added_up_and_the_use_of_their_caches_is_not() -> None:
    two = (
        NEEDED
        + NEEDED.replace('"0"', '"1"')
        + "".join(f'vllm:kv_cache_usage_perc{{engine="{engine}"}} {used}\n' for engine, used in ((0, 0.9), (1, 0.5)))
    )
    reading = reading_of(read_samples(two), NOW)
    assert (reading.running, reading.output_tokens, reading.kv_cache_used) == (4, 400, pytest.approx(0.7))


def test_rates_are_those_of_the_time_between_two_readings() -> None:
    gauges = gauges_of(deployment(), BEFORE, LATER, GpuMemory(30.5, 80.0))
    assert (gauges.running, gauges.waiting, gauges.kv_cache_used, gauges.preemptions) == (3, 1, 0.6, 4)
    assert (gauges.input_tokens_per_s, gauges.output_tokens_per_s) == (100, 15)
    assert gauges.prefix_cache_hits == 0.75
    assert (gauges.gpu_memory_used_gib, gauges.gpu_memory_total_gib) == (30.5, 80.0)


@pytest.mark.parametrize(
    "before",
    [None, replace(BEFORE, output_tokens=531), replace(BEFORE, at=NOW + 2), replace(BEFORE, prefix_hits=276)],
    ids=["no reading", "a restarted engine", "a clock that stands", "its cache begun anew"],
)
def test_no_rate_is_made_up_where_there_is_nothing_to_compare_with(before: Reading | None) -> None:
    gauges = gauges_of(deployment(), before, LATER)
    rates = (gauges.input_tokens_per_s, gauges.output_tokens_per_s, gauges.prefix_cache_hits)
    assert (rates, gauges.running) == ((None, None, None), 3)


def test_without_prompts_there_is_no_share_of_hits() -> None:
    gauges = gauges_of(deployment(), BEFORE, replace(BEFORE, at=NOW + 2))
    assert (gauges.input_tokens_per_s, gauges.prefix_cache_hits) == (0, None)
