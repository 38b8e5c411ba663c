"""What is needed before something is ordered that cannot end itself, and who else would end it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import Cloud, deployment, make_fleet
from sellers import offer

from gpu_cli.commands.guard import _service_in_words
from gpu_cli.commands.here import the_wanted
from gpu_cli.commands.ls import _trouble
from gpu_cli.commands.stories import gap_in_words, stops_in_words
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.away.record import LATE_S, STANDS_STILL, note
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.stops import stops_of
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.environment import KeptEnvironment
from gpu_cli.fleet.guard.keepers import NO_KEEPERS, Keepers, check_kept, keepers
from gpu_cli.fleet.guard.process import lock_path
from gpu_cli.fleet.guard.service import service_lock_path
from gpu_cli.fleet.guard.services import Systemd
from gpu_cli.fleet.guard.unit import installed
from gpu_cli.locks import Lock
from gpu_cli.planner.rank import rank
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Kind, Link, Offer, SelfDestruction

ENDS_ITSELF = SelfDestruction("DELETE", "https://cloud/{POD}", {}, "GET", "https://cloud/{POD}", {404: ""}, "gpu", ())
RECIPE = "model: A/B\ncontext: 4096\ngpu: {names: [H100]}\nproviders: {able: {on_node_key: true}}\n"


class Able(Cloud):
    """What it rents can end itself where the recipe says so."""

    name = "able"

    def self_destruction(self, options: Mapping[str, object]) -> SelfDestruction | None:
        return ENDS_ITSELF if options.get("on_node_key") else None


class Account(Cloud):
    """A cloud that the guard away from here watches."""

    name = "lambda"

    def __init__(self, credentials: str) -> None:
        super().__init__()
        self.credentials = credentials


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = replace(make_fleet(tmp_path), environ={"HOME": str(tmp_path), "RUNPOD_API_KEY": "now"})
    fleet._loaded.update({"able": Able(), "lambda": Account("mine")})
    yield fleet
    fleet.store.close()


@pytest.fixture
def install(fleet: Fleet) -> Iterator[None]:
    """The guard counts as a service that runs."""
    systemd, kept = Systemd(fleet.environ), KeptEnvironment(fleet.paths)
    wanted = systemd.path.parent / "default.target.wants" / systemd.path.name
    wanted.parent.mkdir(parents=True)
    wanted.symlink_to(systemd.path)
    kept.keep(fleet.environ)
    systemd.path.write_text(systemd.definition([str(kept.file)]))
    service = Lock(service_lock_path(fleet.paths))
    assert service.try_acquire()
    yield
    service.release()


def send_away(fleet: Fleet, account: str = "mine") -> None:
    """A guard counts as deployed at Modal, for this account of Lambda."""
    away = {"on": "modal", "deployed_at": 1.0, "account": account}
    (fleet.paths.state / "away.json").write_text(json.dumps(away))


def left(fleet: Fleet, *offers: Offer, progress: Silent | None = None, accepted: bool = False) -> list[str]:
    """The clouds at which it may be launched."""
    recipe = parse_recipe(RECIPE, Path("/tiny.yaml"), shown="tiny.yaml")
    candidates = rank(recipe, offers, None).candidates
    kept = check_kept(fleet, recipe, candidates, progress or Silent(), accepted=accepted)
    return [one.offer.provider for one in kept]


@pytest.mark.parametrize("kind", [Kind.POD, Kind.VM])
def test_what_nothing_ends_is_not_ordered_and_the_error_names_every_way_out(fleet: Fleet, kind: Kind) -> None:
    with pytest.raises(UserError) as refused:
        left(fleet, offer("cloud", kind=kind))
    error = refused.value
    assert (error.exit_status, error.code) == (Exit.BAD_INPUT, "nothing-ends-it")
    assert "cloud cannot end themselves" in error.message
    assert all(way in error.hint for way in ("--ttl", "--yes", "gpu guard install"))
    assert "modal" not in error.hint


def test_who_accepts_that_gets_it(fleet: Fleet) -> None:
    assert left(fleet, offer("cloud"), accepted=True) == ["cloud"]


@pytest.mark.parametrize(
    ("provider", "kind"), [("able", Kind.POD), ("cloud", Kind.PROCESS), ("cloud", Kind.SERVERLESS)]
)
def test_what_ends_itself_or_with_this_machine_needs_no_word(fleet: Fleet, provider: str, kind: Kind) -> None:
    told = Told()
    assert left(fleet, offer(provider, kind=kind), progress=told) == [provider]
    assert told.notes == []


def test_clouds_whose_machines_cannot_end_themselves_are_left_out_where_others_can(fleet: Fleet) -> None:
    told = Told()
    assert left(fleet, offer("cloud", 1.0), offer("able", 2.0), progress=told) == ["able"]
    (note,) = told.notes
    assert "left out: machines of cloud" in note
    assert "--ttl" in note


@pytest.mark.usefixtures("install")
def test_the_installed_guard_ends_what_cannot_end_itself(fleet: Fleet) -> None:
    assert keepers(fleet) == Keepers(installed=True, away="")
    assert left(fleet, offer("cloud")) == ["cloud"]


@pytest.mark.usefixtures("install")
def test_an_installed_guard_without_the_keys_of_now_keeps_nothing(fleet: Fleet) -> None:
    KeptEnvironment(fleet.paths).keep({**fleet.environ, "RUNPOD_API_KEY": "before"})
    assert keepers(fleet) == Keepers(installed=False, away="")


@pytest.mark.usefixtures("install")
def test_an_installed_guard_that_somebody_has_disabled_keeps_nothing(fleet: Fleet) -> None:
    unit = Systemd(fleet.environ).path
    (unit.parent / "default.target.wants" / unit.name).unlink()
    assert keepers(fleet) == NO_KEEPERS
    assert "is disabled, and no reboot brings it back (gpu guard install)" in _service_in_words(installed(fleet))


def test_a_guard_at_modal_of_which_modal_says_nothing_now_keeps_nothing_that_is_launched(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        monkeypatch.setenv(name, "not-asked-for")
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    send_away(fleet)
    assert keepers(fleet) == Keepers(installed=False, away="modal")
    told = Told()
    with pytest.raises(UserError, match="cannot end themselves"):
        left(fleet, offer("lambda"), progress=told)
    assert told.notes == [
        "whether the guard at Modal is at work cannot be told: Modal does not answer (127.0.0.1:9)",
    ]


def test_a_guard_at_modal_that_took_no_turn_for_long_is_no_hand(fleet: Fleet) -> None:
    send_away(fleet)
    note(fleet.paths, asked_at=LATE_S, turned_at=1.0)
    assert keepers(fleet).away == "modal"
    note(fleet.paths, asked_at=LATE_S + 1.0)
    assert keepers(fleet) == Keepers(installed=False, away="", trouble=STANDS_STILL)


def test_a_guard_at_modal_with_the_key_of_another_account_keeps_nothing(fleet: Fleet) -> None:
    send_away(fleet, account="of another")
    with pytest.raises(UserError) as refused:
        left(fleet, offer("lambda"))
    assert "gpu guard deploy --on modal" in refused.value.hint


def test_a_listing_tells_of_trouble_with_the_guard_at_modal_where_that_is_needed() -> None:
    hands = Keepers(installed=True, away="modal", trouble="it hears nothing")
    at_lambda = deployment(provider="lambda", kind=Kind.VM, link=Link.SSH)
    assert _trouble([deployment(), at_lambda], hands) == ("it hears nothing",)
    assert _trouble([deployment()], hands) == ()
    assert _trouble([at_lambda], NO_KEEPERS) == ()


@pytest.mark.parametrize("where", ["flag", "variable", "recipe", "file", "nowhere"])
def test_a_ttl_is_said_wherever_somebody_said_it_but_by_nobody_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    limits = "limits: {ttl: 2h}\n" if where == "recipe" else ""
    (tmp_path / "gpu.yaml").write_text(f"model: A/B\n{limits}")
    if where == "file":
        (tmp_path / "gpu.config.yaml").write_text("ttl: 2h\n")
    if where == "variable":
        monkeypatch.setenv("GPU_TTL", "2h")
    monkeypatch.chdir(tmp_path)
    wanted, _ = the_wanted("gpu.yaml", None, {"ttl": "2h" if where == "flag" else None})
    assert (wanted.ttl_said, wanted.yes) == (where != "nowhere", False)
    assert wanted.limits.ttl_s == (24 * 3600 if where == "nowhere" else 7200)


def test_each_hand_is_named_in_the_words_about_what_ends_it(fleet: Fleet, install: None) -> None:
    send_away(fleet)
    guard = Lock(lock_path(fleet.paths))
    assert guard.try_acquire()
    both = deployment(provider="lambda", kind=Kind.VM, link=Link.SSH, own_stop_armed=True)
    fleet.keys.create(both.resource_name)
    assert "idle (supervisor, installed guard and guard at Modal), at" in stops_in_words(fleet, both)
    assert gap_in_words(fleet, both) == ""
    guard.release()


@pytest.mark.parametrize("state", [State.READY, State.BOOTING])
def test_where_only_the_guard_of_this_machine_holds_the_user_is_told_what_that_means(
    fleet: Fleet, state: State
) -> None:
    guard = Lock(lock_path(fleet.paths))
    assert guard.try_acquire()
    told = gap_in_words(fleet, deployment(state=state, kind=Kind.VM))
    guard.release()
    assert told.startswith("only the guard" if state is State.READY else "so far only the guard")
    assert "while this machine sleeps or is off, it bills on" in told
    assert "gpu guard install" in told


@pytest.mark.usefixtures("install")
def test_an_installed_guard_survives_a_reboot_but_sleeps_with_its_machine(fleet: Fleet) -> None:
    guard = Lock(lock_path(fleet.paths))
    assert guard.try_acquire()
    told = gap_in_words(fleet, deployment())
    guard.release()
    assert "sleeps or is off, it bills on" in told
    assert "reboot" not in told


def test_the_guard_away_from_here_is_a_hand_on_idleness_deadline_and_budget_of_its_cloud() -> None:
    hands = Keepers(installed=True, away="modal")
    watched = deployment(provider="lambda", kind=Kind.VM, link=Link.SSH, budget_usd=1.0)
    stops = stops_of(watched, guard_lives=True, keepers=hands)
    assert {stop.kind for stop in stops if stop.by == "modal" and stop.armed} == {"idle", "deadline", "budget"}
    assert {stop.by for stop in stops if stop.installed} == {"guard"}
    assert {stop.by for stop in stops_of(deployment(), guard_lives=True, keepers=hands)} == {"supervisor", "guard"}


def test_the_guard_away_from_here_is_no_hand_on_idleness_while_it_hears_nothing() -> None:
    watched = deployment(provider="lambda", kind=Kind.VM, link=Link.SSH)
    stops = stops_of(watched, guard_lives=True, keepers=Keepers(installed=False, away="modal", trouble="unheard"))
    assert {stop.kind: stop.armed for stop in stops if stop.by == "modal"} == {"idle": False, "deadline": True}


def test_the_guard_away_from_here_cannot_tell_that_what_is_public_is_idle() -> None:
    public = deployment(provider="lambda", kind=Kind.VM, link=Link.DIRECT)
    stops = stops_of(public, guard_lives=True, keepers=Keepers(installed=False, away="modal"))
    assert [stop.kind for stop in stops if stop.by == "modal"] == ["deadline"]
