"""`gpu bench`, with a load generator that makes its figures up: what is measured, kept, shown and ended."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from driver import Gpu, Ran

from gpu_cli.app import main
from gpu_cli.bench.generator import Generator
from gpu_cli.bench.pressure import Endpoint, Pressure, Standing
from gpu_cli.bench.result import Level, Load, Spread
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

LAUNCHES_HERE = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
"""What is launched outlives the object that stands for it, which is fine in a process that ends."""


@dataclass
class Scripted:
    """What came of each level that was asked for, and who asked."""

    endpoints: list[Endpoint] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    happens: dict[int, str | BaseException] = field(default_factory=dict)
    """By concurrency, what goes wrong: the level is partial for that reason, or it never comes."""
    meanwhile: dict[int, Callable[[], object]] = field(default_factory=dict)
    """By concurrency, what somebody else does during the level."""

    def measure(
        self,
        _generator: Generator,
        endpoint: Endpoint,
        load: Load,
        pressures: Sequence[Pressure],
        *,
        tell: Callable[[Standing], None],
    ) -> Iterator[Level]:
        for pressure in pressures:
            self.endpoints.append(endpoint)
            self.loads.append(load)
            self.meanwhile.get(pressure.concurrency or 0, lambda: None)()
            tell(Standing(pressure, answered=3, failed=1, output_tokens_per_s=40.0, remaining_s=5.0))
            went = self.happens.get(pressure.concurrency or 0, "")
            if isinstance(went, BaseException):
                raise went
            yield level(pressure, went)


def level(pressure: Pressure, partial: str) -> Level:
    """One that saturates at four requests at once."""
    at_once = pressure.concurrency or 1
    tokens_per_s = 100 * min(at_once, 4)
    latency_s = at_once * 256 / tokens_per_s
    return Level(
        pressure.concurrency,
        pressure.rate_per_s,
        seconds=10.0,
        requests=40,
        errors={"timeout": 1} if partial else {},
        input_tokens=40960,
        output_tokens=10 * tokens_per_s,
        time_to_first_token_s=Spread(0.1, 0.2, 0.3),
        inter_token_latency_s=Spread(0.01, 0.02, 0.03),
        latency_s=Spread(latency_s, latency_s, latency_s),
        partial=partial,
    )


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """In the place of the load generator, within this process."""
    made = Scripted()
    monkeypatch.setattr("gpu_cli.bench.session.measure", made.measure)
    monkeypatch.setattr(
        "gpu_cli.commands.bench_run.ready_generator", lambda *_: Generator("scripted 1.0", Path("/python"))
    )
    return made


@pytest.fixture
def bench(
    gpu: Gpu, scripted: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Runs the command in this process, where the figures are made up."""
    assert not scripted.loads
    monkeypatch.chdir(gpu.cwd)

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["gpu", "bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Ran(shown.out, shown.err, int(str(ended.value.code)))

    return run


def test_what_runs_is_measured_shown_and_kept(
    gpu: Gpu, tiny: str, bench: Callable[..., Ran], scripted: Scripted
) -> None:
    assert gpu("up", tiny).exit == 0
    ran = bench("tiny", "--concurrency", "1,2,4,8", "--no-stream", "--plot", "plots")
    assert (ran.exit, len(ran.stdout.splitlines())) == (0, 5), ran.stderr
    assert {file.name for file in (gpu.cwd / "plots").iterdir()} == {"bench-tiny.png", "bench-tiny.svg"}
    assert "written: plots/bench-tiny.png" in ran.stderr
    assert "4 knee" in ran.stdout
    assert "the knee: 4 at once" in ran.stderr
    assert "concurrency 8" in ran.stderr
    (endpoint, *_) = scripted.endpoints
    assert (endpoint.base_url, endpoint.model) == (gpu.ls()[0]["base_url"], "tiny")
    assert endpoint.key.reveal() not in ran.stdout + ran.stderr
    assert scripted.loads[0] == Load(1024, 256, "", streaming=False, duration_s=30.0)
    assert gpu.state_of("tiny") == "ready"
    (kept,) = gpu("bench", "--list", "--json").json["benchmarks"]
    assert (kept["recipe"], kept["gpu"], kept["knee"]["concurrency"]) == ("tiny", "cpu", 4)
    assert kept["engine_args"][:2] == ["--max-num-seqs", "16"]
    narrow = gpu.on_a_terminal("bench", "--list", columns=60).replace("\n", "")
    assert all(text in narrow for text in ("1024/256  400    4   4     0.00", "FLAGS", "--max-num-seqs 16"))
    assert gpu("bench", "--list", "tiny", "--json").json["benchmarks"] == [kept]
    assert gpu("bench", "--list", "other", "--json").json["benchmarks"] == []


def test_a_plan_counts_on_what_was_measured(gpu: Gpu, tiny: str, bench: Callable[..., Ran]) -> None:
    assert gpu("up", tiny).exit == 0
    assert bench("--concurrency", "8,32").exit == 0
    (candidate,) = gpu("plan", tiny, "--json").json["candidates"]
    assert (candidate["decode_tokens_per_s_total"], candidate["speed_source"]) == (400.0, "measured")
    saved = str(gpu.cwd / "offers.json")
    (replayed,) = gpu("plan", tiny, "--save", saved, "--json").json["candidates"]
    assert (replayed["decode_tokens_per_s_total"], replayed["speed_source"]) == (None, None)


@LAUNCHES_HERE
def test_a_recipe_is_brought_up_measured_and_ended(gpu: Gpu, tiny: str, bench: Callable[..., Ran]) -> None:
    ran = bench(tiny, "--concurrency", "1,2", "--json")
    assert (ran.exit, ran.json["recipe"], ran.json["partial"]) == (0, "tiny", False), ran.stderr
    assert ran.json["name"].startswith("tiny-bench-")
    assert "is gone; it cost $0.00" in ran.stderr
    assert gpu.engines() == []


def test_what_is_partial_is_shown_and_told_by_the_status(
    gpu: Gpu, tiny: str, bench: Callable[..., Ran], scripted: Scripted
) -> None:
    assert gpu("up", tiny).exit == 0
    scripted.happens[2] = "the server stalled"
    ran = bench("--concurrency", "1,2", "--json")
    assert (ran.exit, ran.json["partial"], ran.json["levels"][1]["partial"]) == (6, True, "the server stalled")
    scripted.happens = {1: UserError(Exit.NEVER_HEALTHY, "no-answer", "it is dead", hint="see gpu logs")}
    nothing = bench("--concurrency", "1", "--json")
    assert (nothing.exit, nothing.error["code"]) == (6, "no-answer")
    assert len(gpu("bench", "--list", "--json").json["benchmarks"]) == 1


def test_what_is_ended_meanwhile_is_told_so_and_keeps_what_was_measured(
    gpu: Gpu, tiny: str, bench: Callable[..., Ran], scripted: Scripted
) -> None:
    assert gpu("up", tiny).exit == 0
    scripted.meanwhile[2] = lambda: gpu("down", "tiny")
    ran = bench("--concurrency", "1,2")
    assert (ran.exit, len(ran.stdout.splitlines())) == (6, 2)
    assert "tiny is gone (gpu down): what was measured until then is shown" in ran.stderr


@LAUNCHES_HERE
def test_an_interruption_ends_what_was_brought_up_and_shows_what_was_measured(
    gpu: Gpu, tiny: str, bench: Callable[..., Ran], scripted: Scripted
) -> None:
    scripted.happens[4] = KeyboardInterrupt()
    ran = bench(tiny, "--concurrency", "1,2,4", "--json")
    assert (ran.exit, ran.error["code"], len(ran.json["levels"])) == (130, "interrupted", 2)
    assert gpu.engines() == []
    assert len(gpu("bench", "--list", "--json").json["benchmarks"][0]["levels"]) == 2


def test_two_deployments_are_measured_in_turns(
    gpu: Gpu, tiny: str, bench: Callable[..., Ran], scripted: Scripted
) -> None:
    assert gpu("up", tiny).exit == 0
    assert gpu("up", tiny, "--name", "other").exit == 0
    ran = bench("tiny", "--against", "other", "--concurrency", "1,2", "--json")
    assert (ran.exit, [each["name"] for each in ran.json["runs"]]) == (0, ["tiny", "other"]), ran.stderr
    assert ran.json["ratios"][0]["output_tokens_per_s"] == 1.0
    urls = [endpoint.base_url for endpoint in scripted.endpoints]
    assert urls[:2] == urls[2:]
    assert len(set(urls)) == 2
    assert bench("tiny", "--against", "tiny").exit == 2
    assert bench("tiny", "--against", "nobody").exit == 8


def test_what_cannot_be_meant_is_refused_before_anything_is_started(
    gpu: Gpu, tiny: str, bench: Callable[..., Ran]
) -> None:
    nobody = bench("nobody", "--json")
    assert (nobody.exit, nobody.error["code"]) == (8, "no-such-deployment")
    assert bench().exit == 8
    assert bench(tiny, "--concurrency", "0").exit == 2
    assert gpu.ls() == []
    assert gpu("up", tiny).exit == 0
    ran = bench("tiny", "--budget", "3")
    assert (ran.exit, "--budget is for what is launched" in ran.stderr) == (2, True)
