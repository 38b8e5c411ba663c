"""What happens when a cloud takes a spot deployment back."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driver import Gpu
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.end.collect import forget_keys
from gpu_cli.fleet.end.reconcile import look
from gpu_cli.fleet.end.replace import MOST_REPLACEMENTS, call_off, replace_all_lost, replace_lost
from gpu_cli.fleet.end.spot import TAKEN_BACK, Terms, spot_recipes
from gpu_cli.fleet.end.teardown import end_on_request, tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import guard_log_path
from gpu_cli.recipe.files import parse_recipe
from gpu_providers.base import Link

REPLACE = "name: tiny\nmodel: A/B\nspot: true\nwhen_lost: replace\n"
TERMS = Terms(3.5, 1200.0, region="eu")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, clock: FakeClock) -> Iterator[Fleet]:
    fleet = replace(make_fleet(tmp_path, cloud, clock), environ={"GPU_HOME": str(tmp_path)})
    yield fleet
    fleet.store.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that were started, without the interpreter; nothing is."""
    commands: list[list[str]] = []

    def start(command: list[str], **_: Any) -> None:
        commands.append(command[1:])

    monkeypatch.setattr(subprocess, "Popen", start)
    return commands


@pytest.fixture
def lose(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> Callable[..., Deployment]:
    """End a deployment that has lived for ten minutes, as the guard does."""

    def lose(
        text: str = REPLACE, terms: Terms = TERMS, why: str = f"{TAKEN_BACK}: outbid", **changes: object
    ) -> Deployment:
        fleet.store.add(deployment(**changes))  # type: ignore[arg-type]
        recipe = parse_recipe(text, Path("/r.yaml"), shown="r.yaml")
        spot_recipes(fleet).keep("gpu-tiny-1", recipe, terms)
        cloud.add("gpu-tiny-1")
        clock.time = NOW + 600
        return tear_down(fleet, fleet.store.get("gpu-tiny-1"), why)

    return lose


def kept(fleet: Fleet) -> list[Path]:
    return list((fleet.paths.state / "recipes").iterdir())


def test_what_was_taken_back_is_launched_again_with_what_is_left_of_its_limits(
    fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]]
) -> None:
    said = replace_lost(fleet, lose(budget_usd=1.0, budget_group="ci"))
    (command,) = started
    assert command[:4] == ["-m", "gpu_cli", "up", str(fleet.paths.state / "recipes" / "gpu-tiny-1.yaml")]
    assert dict(zip(command[4::2], command[5::2], strict=True)) == {
        "--name": "tiny",
        "--provider": "cloud",
        "--idle": "10m",
        "--ttl": "50m",
        "--budget": "0.666667",  # ten minutes at 2 USD an hour are spent
        "--max-price": "3.500000",
        "--start-deadline": "30m",
        "--boot-deadline": "20m",
        "--region": "eu",
        "--budget-group": "ci",
    }
    assert said == "tiny is being replaced (1 of at most 3)"
    assert kept(fleet), "the launch has to read it"


def test_what_had_no_limits_gets_none(fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]]) -> None:
    replace_lost(fleet, lose(terms=Terms(None, 60.0)))
    assert not {"--budget", "--max-price"} & set(started[0])


@pytest.mark.parametrize(("link", "direct"), [(Link.DIRECT, True), (Link.TLS, False)])
def test_a_bare_endpoint_is_replaced_by_a_bare_one(
    fleet: Fleet, cloud: Cloud, lose: Callable[..., Deployment], started: list[list[str]], link: Link, direct: bool
) -> None:
    cloud.link = Link.TLS  # type: ignore[misc]
    replace_lost(fleet, lose(link=link))
    assert ("--direct" in started[0]) is direct


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"text": "model: A/B\nspot: true\n"}, "its recipe does not ask for that"),
        ({"tied": True}, "it belonged to a command (gpu run)"),
        ({"terms": Terms(None, 60.0, MOST_REPLACEMENTS)}, "3 in a row were taken back"),
        ({"deadline_at": NOW + 600}, "its time is up"),
        ({"budget_usd": 0.1}, "its budget is used up"),
    ],
)
def test_what_should_not_be_replaced_is_not(
    fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]], options: dict[str, Any], why: str
) -> None:
    assert replace_lost(fleet, lose(**options)) == f"tiny is not replaced: {why}"
    assert (started, kept(fleet)) == ([], [])


@pytest.mark.parametrize("why", ["idle", "gpu down", "cloud says: exited"])
def test_what_ended_in_another_way_is_left_alone(
    fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]], why: str
) -> None:
    assert replace_lost(fleet, lose(why=why)) == ""
    assert (started, kept(fleet)) == ([], [])


def test_what_is_taken_down_while_its_cloud_takes_it_back_is_not_replaced(
    fleet: Fleet, cloud: Cloud, started: list[list[str]]
) -> None:
    fleet.store.add(deployment())
    spot_recipes(fleet).keep("gpu-tiny-1", parse_recipe(REPLACE, Path("/r.yaml"), shown="r.yaml"), TERMS)
    cloud.add("gpu-tiny-1")
    ready = fleet.store.get("gpu-tiny-1")
    taken = fleet.store.move(ready, State.TERMINATING, at=NOW, reason=f"{TAKEN_BACK}: outbid")
    assert replace_lost(fleet, end_on_request(fleet, taken)) == ""
    assert started == []


def test_what_another_command_sees_gone_first_is_replaced_all_the_same(
    fleet: Fleet, cloud: Cloud, started: list[list[str]]
) -> None:
    fleet.store.add(deployment())
    spot_recipes(fleet).keep("gpu-tiny-1", parse_recipe(REPLACE, Path("/r.yaml"), shown="r.yaml"), TERMS)
    ready = fleet.store.get("gpu-tiny-1")
    taken = fleet.store.move(ready, State.TERMINATING, at=NOW, reason=f"{TAKEN_BACK}: outbid")
    seen, _ = look(fleet, ready)
    assert (seen.state, seen.reason) == (State.FAILED, f"{TAKEN_BACK}: outbid")
    replace_lost(fleet, tear_down(fleet, taken, taken.reason))
    assert len(started) == 1


@pytest.mark.parametrize(
    ("names", "called_off"), [([], True), (["tiny"], True), (["gpu-tiny-1"], True), (["x"], False)]
)
def test_what_is_lost_can_be_left_lost_by_name_or_all_at_once(
    fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]], names: list[str], called_off: bool
) -> None:
    lost = lose()
    call_off(fleet, names)
    assert (replace_lost(fleet, lost) == "") is called_off
    assert bool(started) is not called_off


@pytest.mark.parametrize("arguments", [(), ("tiny",), ("--all",)])
def test_down_between_a_loss_and_its_replacement_ends_that_too(
    gpu: Gpu, home: Path, arguments: tuple[str, ...]
) -> None:
    fleet = make_fleet(home)
    with closing(fleet.store):
        fleet.store.add(deployment(state=State.FAILED, reason=f"{TAKEN_BACK}: outbid", ended_at=NOW))
        spot_recipes(fleet).keep("gpu-tiny-1", parse_recipe(REPLACE, Path("/r.yaml"), shown="r.yaml"), TERMS)
        assert gpu("down", *arguments).exit == 0
        assert kept(fleet) == []


def test_a_name_that_somebody_has_launched_meanwhile_is_left_alone(
    fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]]
) -> None:
    lost = lose()
    fleet.store.add(replace(deployment(), resource_name="gpu-tiny-2"))
    assert replace_lost(fleet, lost) == "tiny is not replaced: another one of its name lives"
    assert started == []


def test_the_launch_is_a_command_that_works(
    fleet: Fleet, lose: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the one thing that this test cannot have: a cloud of that name."""
    processes: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: processes.append(start(*args, **kwargs)))
    replace_lost(fleet, lose(budget_usd=1.0))
    (process,) = processes
    assert process.wait(30) == 2
    assert "no provider is called 'cloud'" in guard_log_path(fleet.paths).read_text()
    assert kept(fleet) == []


def test_what_ended_otherwise_has_left_is_cleared_away_and_what_is_to_be_replaced_is_not(
    fleet: Fleet, lose: Callable[..., Deployment]
) -> None:
    lose()
    for name, state in (("other", State.READY), ("gone", State.GONE)):
        fleet.store.add(replace(deployment(name, state), ended_at=NOW if state is State.GONE else None))
        spot_recipes(fleet).keep(f"gpu-{name}-1", parse_recipe(REPLACE, Path("/r.yaml"), shown="r.yaml"), TERMS)
    forget_keys(fleet)
    assert {path.stem for path in kept(fleet)} == {"gpu-tiny-1", "gpu-other-1"}


def test_what_a_killed_guard_did_not_come_to_replace_is_replaced_by_whoever_looks_next(
    fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]]
) -> None:
    """It was on record as gone, and nothing had been started."""
    lose()
    assert replace_all_lost(fleet) == ["tiny is being replaced (1 of at most 3)"]
    assert len(started) == 1


def test_what_lives_or_has_ended_otherwise_is_not_replaced_by_whoever_looks(
    fleet: Fleet, lose: Callable[..., Deployment], started: list[list[str]]
) -> None:
    recipe = parse_recipe(REPLACE, Path("/r.yaml"), shown="r.yaml")
    fleet.store.add(deployment("living"))
    for name in ("gpu-living-1", "gpu-unknown-1"):
        spot_recipes(fleet).keep(name, recipe, TERMS)
    assert (replace_all_lost(fleet), started) == ([], [])


def test_as_long_as_one_is_being_launched_in_its_place_nobody_launches_another(
    fleet: Fleet, lose: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when whoever started that launch is gone; and when the launch was killed, the next one is made."""
    launches: list[subprocess.Popen[bytes]] = []

    def start(_: object, pass_fds: Sequence[int], **__: object) -> None:
        launches.append(run([sys.executable, "-c", "input()"], pass_fds=pass_fds, stdin=subprocess.PIPE))

    run = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    lost = lose()
    said = [bool(replace_lost(fleet, lost)), bool(replace_lost(fleet, lost)), bool(replace_all_lost(fleet))]
    assert said == [True, False, False]
    launches[0].kill()
    launches[0].communicate()
    assert replace_lost(fleet, lost)
    launches[1].communicate()
    assert len(launches) == 2
