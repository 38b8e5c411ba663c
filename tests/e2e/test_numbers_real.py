"""`gpu up --check` and a benchmark of the real vLLM, which starts once for both: a small model holds what its recipe
promises, what it cannot do is named, and its speeds are those of the engine's own counters.
"""

import json
import re
import threading
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import httpx
import pytest
import yaml
from driver import Gpu, Ran
from served import RECIPE, assert_nothing_is_left, port_of

from gpu_cli.bench import drive
from gpu_cli.bench.generator import Generator
from gpu_cli.bench.pressure import Endpoint, Pressure, Timing
from gpu_cli.bench.records import Request, level_of
from gpu_cli.bench.result import Level, Load
from gpu_cli.paths import shipped
from gpu_providers.base import Secret

pytestmark = pytest.mark.engine

CONTEXT_TOKENS, AT_ONCE = 1024, 3
"""Less than the recipe's own: a processor takes a minute for a prompt of eight thousand tokens."""
CANNOT = {
    *("reasoning", "tool-call", "tool-call-stream", "tool-calls-parallel", "tool-call-forced", "tool-call-needless"),
}

INPUT, OUTPUT, WINDOW_S = 48, 16, 4.0
ONE, TWO = Pressure(concurrency=1), Pressure(concurrency=2)
LOOK_S = 0.1
COUNTER = re.compile(r"^(vllm:\w+?)(?:\{.*\})? ([\d.e+]+)$", re.MULTILINE)

INPUT_TOKENS, OUTPUT_TOKENS = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
SUCCESS, CACHE_HITS = "vllm:request_success_total", "vllm:prefix_cache_hits_total"
FIRST_TOKEN, INTER_TOKEN = "vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds"


class Counters:
    """The engine's own, looked at all the time."""

    def __init__(self, base_url: str, key: str) -> None:
        self._client = httpx.Client(base_url=base_url.removesuffix("/v1"), headers={"Authorization": f"Bearer {key}"})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._seen: list[tuple[float, dict[str, float]]] = []

    def __enter__(self) -> "Counters":
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self._client.close()

    def between(self, name: str, begin: float, end: float) -> float:
        """How much it grew; evenly between two looks."""
        return self._at(name, end) - self._at(name, begin)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        before, text = time.time(), self._client.get("/metrics").text
        totals: dict[str, float] = {}
        for name, value in COUNTER.findall(text):
            totals[name] = totals.get(name, 0.0) + float(value)
        self._seen.append(((before + time.time()) / 2, totals))

    def _at(self, name: str, moment: float) -> float:
        after = bisect([at for at, _ in self._seen], moment)
        (at, totals), (later, later_totals) = self._seen[max(0, after - 1)], self._seen[min(after, len(self._seen) - 1)]
        share = (moment - at) / (later - at) if later > at else 0.0
        return totals[name] + (later_totals[name] - totals[name]) * share


@dataclass
class Measured:
    """A benchmark with what it was made from."""

    levels: Sequence[Level]
    requests: Sequence[Sequence[Request]]
    """Of each level all, the warm-up and the end included."""
    warm_up_s: float
    counters: Counters

    def window(self, index: int) -> tuple[float, float]:
        begin = min(request.issued_at for request in self.requests[index]) + self.warm_up_s
        return begin, begin + WINDOW_S

    @property
    def whole(self) -> tuple[float, float]:
        """From before the first request of the load to after the last one's end."""
        every = [request for requests in self.requests for request in requests]
        return min(r.issued_at for r in every) - 0.05, max(r.ended_at for r in every) + 1.0


@pytest.fixture(scope="module")
def up(gpu: Gpu) -> Iterator[Ran]:
    content = yaml.safe_load((shipped("recipes") / f"{RECIPE}.yaml").read_text())
    recipe = gpu.cwd / f"{RECIPE}.yaml"
    recipe.write_text(yaml.safe_dump({**content, "context": CONTEXT_TOKENS, "concurrency": AT_ONCE}))
    up = gpu("up", str(recipe), "--check", "--json")
    assert up.exit == 0, up.stdout + up.stderr
    yield up
    assert gpu("down").exit == 0
    assert_nothing_is_left(gpu, port_of(up.json["base_url"]))


@pytest.fixture(scope="module")
def endpoint(gpu: Gpu, up: Ran) -> Endpoint:
    variables = gpu("env", "--json").json
    return Endpoint(up.json["base_url"], Secret(variables["OPENAI_API_KEY"]), RECIPE)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("dataset") / "questions.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"{n} and {n + 1} are how many?"}) + "\n" for n in range(200)))
    return file


def test_a_small_model_holds_what_its_recipe_promises_and_what_it_cannot_do_is_named(up: Ran) -> None:
    checks = {one["id"]: one for one in up.json["check"]["checks"]}
    outcomes = {check_id: one["outcome"] for check_id, one in checks.items()}
    assert outcomes == {check_id: "cannot" if check_id in CANNOT else "ok" for check_id in checks}
    assert checks["tool-call"]["detail"] == "its recipe has no tool_call_parser"
    assert checks["context"]["detail"] == f"{CONTEXT_TOKENS - 1:,} of {CONTEXT_TOKENS:,} tokens"
    assert checks["many-at-once"]["detail"] == f"{AT_ONCE} at once"


@pytest.fixture(params=[True, False], ids=["streaming", "whole answers of a dataset"], scope="module")
def measured(
    request: pytest.FixtureRequest, endpoint: Endpoint, load_generator: Generator, questions: Path
) -> Measured:
    kept: list[Sequence[Request]] = []
    timings: list[Timing] = []

    def keeping(requests: Sequence[Request], pressure: Pressure, timing: Timing, partial: str) -> Level:
        kept.append(requests)
        timings.append(timing)
        return level_of(requests, pressure, timing, partial)

    words, dataset = (INPUT, "") if request.param else (None, str(questions))
    load = Load(words, OUTPUT, dataset, streaming=request.param, duration_s=WINDOW_S)
    with pytest.MonkeyPatch.context() as patch, Counters(endpoint.base_url, endpoint.key.reveal()) as counters:
        patch.setattr(drive, "level_of", keeping)
        levels = list(drive.measure(load_generator, endpoint, load, [ONE, TWO] if request.param else [TWO]))
        time.sleep(1.0)
    return Measured(levels, kept, timings[0].warm_up_s, counters)


def test_every_token_and_request_is_counted_as_the_engine_counts_it(measured: Measured) -> None:
    sent = [request for requests in measured.requests for request in requests]
    grown = {name: measured.counters.between(name, *measured.whole) for name in (INPUT_TOKENS, OUTPUT_TOKENS, SUCCESS)}
    assert all(not level.partial and not level.errors for level in measured.levels)
    assert grown[SUCCESS] == pytest.approx(len(sent), rel=0.05)
    assert grown[INPUT_TOKENS] == pytest.approx(sum(request.input_tokens for request in sent), rel=0.05)
    assert grown[OUTPUT_TOKENS] == pytest.approx(sum(request.output_tokens for request in sent), rel=0.05)
    assert {request.output_tokens for request in sent} == {OUTPUT}
    if streamed(measured.levels[0]):
        assert {request.input_tokens for request in sent} == {INPUT}


def test_the_rates_are_those_of_the_engine_in_the_same_window(measured: Measured) -> None:
    for index, level in enumerate(measured.levels):
        grown = measured.counters.between(OUTPUT_TOKENS, *measured.window(index))
        assert level.output_tokens == pytest.approx(grown, rel=0.05, abs=4 if streamed(level) else OUTPUT)
        grown = measured.counters.between(INPUT_TOKENS, *measured.window(index))
        assert level.input_tokens == pytest.approx(grown, rel=0.05, abs=INPUT)  # one request at an edge of the window


def test_latencies_are_those_of_the_engine_and_the_way_to_it(measured: Measured) -> None:
    """The engine's clock starts when it has read the request: a client waits a little longer for the first token."""
    sent = [request for requests in measured.requests for request in requests if request.tokens_at]
    if not sent:
        assert all(level.time_to_first_token_s is None for level in measured.levels)
        return
    counted = {name: mean(measured.counters, name, measured.whole) for name in (FIRST_TOKEN, INTER_TOKEN)}
    assert fmean(r.first_token_s for r in sent) == pytest.approx(counted[FIRST_TOKEN], rel=0.05, abs=0.05)
    assert fmean(r.inter_token_s for r in sent) == pytest.approx(counted[INTER_TOKEN], rel=0.05, abs=0.005)


def test_prompts_do_not_profit_from_the_prefix_cache(measured: Measured) -> None:
    assert measured.counters.between(CACHE_HITS, *measured.whole) == 0


def streamed(level: Level) -> bool:
    return level.time_to_first_token_s is not None


def mean(counters: Counters, histogram: str, window: tuple[float, float]) -> float:
    return counters.between(f"{histogram}_sum", *window) / counters.between(f"{histogram}_count", *window)
