"""A benchmark of servers that misbehave, with the real load generator; and of a load generator that does."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from bench_target import KEY, BenchTarget
from driver import wait_until

from gpu_cli.bench.drive import measure
from gpu_cli.bench.generator import Generator
from gpu_cli.bench.preparation import prepare
from gpu_cli.bench.pressure import Endpoint, Pressure, Standing
from gpu_cli.bench.result import Level, Load
from gpu_cli.bench.watch import Patience
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_providers.base import Secret

INPUT, OUTPUT = 40, 10
LOAD = Load(INPUT, OUTPUT, "", streaming=True, duration_s=1.5)
TWO, FOUR = Pressure(concurrency=2), Pressure(concurrency=4)
RATE = Pressure(rate_per_s=8.0)
IMPATIENT = Patience(stalled_s=5.0, failing_s=3.0)


def ignore(_: Standing) -> None:
    pass


def run(
    generator: Generator,
    target: BenchTarget,
    pressures: Sequence[Pressure],
    tell: Callable[[Standing], None] = ignore,
    *,
    load: Load = LOAD,
    patience: Patience = IMPATIENT,
    levels: list[Level] | None = None,
) -> list[Level]:
    """The levels, which are in `levels` too, should it fail in the end."""
    levels = [] if levels is None else levels
    endpoint = Endpoint(target.base_url, Secret(KEY), "m")
    levels.extend(measure(generator, endpoint, load, pressures, tell=tell, patience=patience))
    return levels


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever happened: no process of the generator, and no folder."""
    yield
    assert processes_of_the_generator() == []
    assert folders() == []


def folders() -> Sequence[Path]:
    return list(Path("/tmp").glob(f"gpu-bench-{os.getpid()}-*"))


def cwd_of(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def processes_of_the_generator(bench: int | None = None) -> Sequence[psutil.Process]:
    """Of this process, or of the one with that id."""
    return [process for process in psutil.process_iter() if f"/gpu-bench-{bench or os.getpid()}-" in cwd_of(process)]


class KeyHunt:
    """Looks for the key where it must not be while the load runs."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.looked = 0

    def look(self) -> None:
        for process in processes_of_the_generator():
            self.looked += 1
            if any(KEY in word for word in process.cmdline()):
                self.seen.add(f"arguments of {process.name()}")
        for folder in folders():
            assert folder.stat().st_mode & 0o077 == 0
            self.seen |= {
                str(file) for file in folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()
            }


@pytest.mark.engine
def test_what_fails_is_counted_and_a_server_that_dies_leaves_the_levels_before_whole(load_generator: Generator) -> None:
    """And ends its own."""
    hunt = KeyHunt()
    with BenchTarget(fails_every=6) as target:

        def die_later(standing: Standing) -> None:
            if standing.pressure == FOUR and standing.answered >= 4:
                hunt.look()
                target.die()

        levels = run(load_generator, target, [TWO, RATE, FOUR, TWO], die_later)
        sent = [body["prompt"] for body in target.requests]
    assert [bool(level.partial) for level in levels] == [False, False, True]
    two, rate, four = levels
    assert four.partial.startswith("every request fails: ")
    assert four.requests
    assert set(two.errors) == {"HTTP 503"}
    assert two.errors["HTTP 503"] < two.requests
    assert 2 < two.input_tokens / two.output_tokens < 8  # four to one, but for the edges of a short window
    assert two.time_to_first_token_s is not None
    assert two.inter_token_latency_s is not None
    assert two.latency_s is not None
    never_pausing = 2 * OUTPUT / two.latency_s.median
    assert 0.4 < two.output_tokens_per_s / never_pausing < 1.3
    assert 2 <= rate.requests <= 24  # 10 on average
    assert target.asked == {"POST /v1/completions"}
    assert len(set(sent)) == len(sent)
    assert {len(prompt.split()) for prompt in sent[-20:]} == {INPUT}
    assert hunt.looked
    assert hunt.seen == set()


def test_a_server_that_does_not_know_the_fields_of_vllm_is_asked_without_them(tmp_path: Path) -> None:
    dataset = tmp_path / "prompts.jsonl"
    dataset.write_text('{"prompt": "Why?", "output_tokens": 10}\n')
    with BenchTarget(knows_ignore_eos=False) as target:
        endpoint = Endpoint(target.base_url, Secret(KEY), "m")
        of_words = prepare(endpoint, LOAD, [TWO])
        of_file = prepare(endpoint, Load(None, None, str(dataset), streaming=False, duration_s=1.0), [TWO])
    assert [dict(plan.fields) for plan in (of_words, of_file)] == [{}, {}]
    assert target.asked == {"POST /v1/completions", "POST /v1/chat/completions"}


def test_a_server_that_refuses_the_first_request_is_told_with_what_to_do() -> None:
    with BenchTarget(fails_every=1) as target, pytest.raises(UserError) as refused:
        run(Generator("none", Path("/nowhere")), target, [TWO])
    assert refused.value.exit_status == Exit.NEVER_HEALTHY
    assert "HTTP 503" in refused.value.message
    assert refused.value.hint


SCRIPT = """
import json, os, subprocess, sys, time
folder = os.path.dirname(sys.argv[sys.argv.index("--config") + 1])
os.mkdir(f"{{folder}}/out")
child = subprocess.Popen(["sleep", "300"])
def answered(level, start, end):
    about = {{"phase_index": level, "credit_issued_ns": start * 1e9, "request_start_ns": start * 1e9,
             "request_end_ns": end * 1e9}}
    tokens = {{"usage_prompt_tokens": {{"value": 40}}, "usage_completion_tokens": {{"value": 10}}}}
    with open(f"{{folder}}/out/profile_export.jsonl", "a") as file:
        file.write(json.dumps({{"metadata": about, "metrics": tokens}}) + "\\n")
now = time.time()
{does}
"""


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[[str], Generator]:
    """A load generator that does what is told, has a child, and then goes on for minutes."""

    def make(does: str) -> Generator:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(does=does))
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
        python.chmod(0o755)
        return Generator("scripted", python)

    return make


def test_a_generator_that_breaks_off_is_told_with_its_last_words(scripted: Callable[[str], Generator]) -> None:
    breaks = scripted("answered(0, now, now + 1); answered(1, now + 1, now + 2); sys.exit('Error: out of memory')")
    with BenchTarget() as target:
        levels = run(breaks, target, [TWO, FOUR, TWO])
    assert [level.partial for level in levels] == ["", "the load generator ended (status 1): Error: out of memory"]
    assert not processes_of_the_generator()


def test_a_generator_that_does_nothing_is_ended(scripted: Callable[[str], Generator]) -> None:
    hangs, impatient = scripted("time.sleep(300)"), Patience(start_s=0.5, stalled_s=0.5)
    with BenchTarget() as target, pytest.raises(UserError) as ended:
        run(hangs, target, [TWO], patience=impatient)
    assert "no answer for" in ended.value.message
    assert not processes_of_the_generator()


def test_a_server_that_stalls_is_given_up_and_the_levels_before_are_whole(scripted: Callable[[str], Generator]) -> None:
    stalls = scripted("answered(0, now, now + 1); answered(1, now + 1, now + 1.5); time.sleep(300)")
    with BenchTarget() as target:
        whole, stalled = run(stalls, target, [TWO, FOUR, TWO], patience=Patience(stalled_s=0.5))
    assert (whole.partial, stalled.requests) == ("", 1)
    assert stalled.partial.startswith("no answer for ")


@pytest.mark.parametrize(
    ("ending", "why"),
    [(KeyboardInterrupt(), "interrupted"), (UserError(Exit.NEVER_HEALTHY, "ended", "m is gone"), "m is gone")],
)
def test_whatever_ends_it_keeps_what_was_measured_and_ends_every_process(
    scripted: Callable[[str], Generator], ending: BaseException, why: str
) -> None:
    answers = scripted("answered(0, now, now + 1); answered(1, now + 1, now + 2); time.sleep(300)")
    levels: list[Level] = []

    def end(standing: Standing) -> None:
        if standing.pressure == FOUR and standing.answered:
            raise ending

    with BenchTarget() as target, pytest.raises(type(ending)):
        run(answers, target, [TWO, FOUR], end, levels=levels)
    assert [level.partial for level in levels] == ["", why]
    assert not processes_of_the_generator()


BENCH = """
import sys
from pathlib import Path
from gpu_cli.bench.drive import measure
from gpu_cli.bench.generator import Generator
from gpu_cli.bench.preparation import prepare
from gpu_cli.bench.pressure import Endpoint, Pressure
from gpu_cli.bench.result import Load
from gpu_providers.base import Secret

python, url, key = sys.argv[1:]
load = Load(40, 10, "", streaming=True, duration_s=60.0)
list(measure(Generator("scripted", Path(python)), Endpoint(url, Secret(key), "m"), load, [Pressure(concurrency=2)]))
"""


@pytest.mark.parametrize("leash", ["alive", "killed"])
def test_a_benchmark_that_is_killed_leaves_neither_load_nor_files(
    scripted: Callable[[str], Generator], leash: str
) -> None:
    """Nor one whose helper is killed, which would see to that."""
    loads = scripted("time.sleep(300)")
    with BenchTarget() as target:
        bench = subprocess.Popen(
            [sys.executable, "-c", BENCH, loads.python, target.base_url, KEY], stderr=subprocess.DEVNULL
        )
        wait_until(lambda: len(processes_of_the_generator(bench.pid)) == 3)  # the leash, the generator and its child
        if leash == "killed":
            psutil.Process(bench.pid).children()[0].kill()
        else:
            bench.kill()
        bench.wait()
    wait_until(lambda: not processes_of_the_generator(bench.pid))
    wait_until(lambda: not list(Path("/tmp").glob(f"gpu-bench-{bench.pid}-*")))


def test_whoever_stops_asking_for_levels_ends_the_load(scripted: Callable[[str], Generator]) -> None:
    answers = scripted("answered(0, now, now + 1); answered(1, now + 1, now + 2); time.sleep(300)")
    with BenchTarget() as target:
        levels = measure(answers, Endpoint(target.base_url, Secret(KEY), "m"), LOAD, [TWO, FOUR], patience=IMPATIENT)
        next(levels)
        assert processes_of_the_generator()
        levels.close()
        assert not processes_of_the_generator()


def test_credentials_of_the_user_are_not_given_to_the_generator(
    scripted: Callable[[str], Generator], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "sk-runpod")
    told = tmp_path / "environ"
    tells = scripted(f"open({str(told)!r}, 'w').write(repr(dict(os.environ))); sys.exit(1)")
    with BenchTarget() as target, pytest.raises(UserError):
        run(tells, target, [TWO])
    assert KEY in told.read_text()
    assert "sk-runpod" not in told.read_text()
