"""The guard at Modal, end to end: deployed by the product, run by the emulated Modal, against the emulated Lambda."""

import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import modal
import pytest
from emulated_lambda import Caller
from emulators.lambda_cloud import LambdaEmulator
from emulators.modal_cloud import ModalEmulator
from emulators.modal_cloud.emulator import Ran
from fleets import FakeClock, deployment, make_fleet
from repositories import commit_in
from sellers import offer
from test_keepers import left

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.away import deploy as away
from gpu_cli.fleet.away.beats import EVERY_S, UNHEARD, Heartbeats
from gpu_cli.fleet.away.modal_way import modal_client
from gpu_cli.fleet.away.record import LATE_S, STANDS_STILL, Away, Seen, record, recorded, seen
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.keepers import keepers
from gpu_cli.fleet.guard.turn import Guard
from gpu_cli.fleet.node.supervised import labels_of
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Link
from gpu_providers.lambda_cloud.tags import tags_of

NOBODY_LISTENS = "http://127.0.0.1:9"
HOUR_S = 3600.0
ODD_TAGS = [{"key": "gpu-cli:name", "value": "odd"}, {"key": "gpu-cli:deadline-at", "value": "soon"}]


class Told(Silent):
    """Keeps what is said in notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(frozen=True)
class Clouds:
    """Both, and the user's account at Lambda."""

    modal: ModalEmulator
    lambda_cloud: LambdaEmulator
    call: Caller

    @property
    def env(self) -> Mapping[str, str]:
        return {**self.modal.env, **self.lambda_cloud.env}

    def launched(self, one: Deployment, **more: object) -> None:
        """An instance as the provider orders it."""
        tags = tags_of(labels_of(one), datetime.fromtimestamp(one.created_at, UTC))
        self.call.launched(**{"name": one.resource_name, "tags": tags, **more})

    def living(self) -> set[str]:
        return {instance["name"] for instance in self.call.data("/instances")}

    def beats(self) -> Mapping[bytes, bytes]:
        """As Modal has them."""
        ((_, beats),) = self.modal.dicts.named
        return beats

    def billed(self) -> set[str]:
        return {resource["name"] for resource in self.lambda_cloud.bill()["resources"] if resource["alive"]}


@contextmanager
def both() -> Iterator[Clouds]:
    """The environment points at them."""
    with ModalEmulator() as modal, LambdaEmulator(boot_s=0) as lambda_cloud:
        clouds = Clouds(modal, lambda_cloud, Caller(lambda_cloud))
        clouds.call.add_key()
        with pytest.MonkeyPatch.context() as patch:
            point_at(clouds, patch)
            yield clouds


def point_at(clouds: Clouds, patch: pytest.MonkeyPatch) -> None:
    for name, value in clouds.env.items():
        patch.setenv(name, value)


@pytest.fixture
def clouds() -> Iterator[Clouds]:
    with both() as clouds:
        yield clouds


@pytest.fixture
def fleet(clouds: Clouds, home: Path) -> Iterator[Fleet]:
    with closing((made := fleet_of(clouds, home)).store):
        yield made


def fleet_of(clouds: Clouds, home: Path) -> Fleet:
    """At the present time, where only sleeping moves it."""
    return at(replace(make_fleet(home), environ=clouds.env), time.time())


def at(fleet: Fleet, now: float) -> Fleet:
    """The same at another time."""
    clock = FakeClock()
    clock.time = now
    return replace(fleet, clock=clock)


def running(fleet: Fleet, name: str, **changes: object) -> Deployment:
    """At Lambda behind the guard of this machine, with an hour to live and five minutes of idleness."""
    now = fleet.clock.now()
    fields = {"provider": "lambda", "link": Link.SSH, "idle_s": 300.0, "deadline_at": now + HOUR_S, "active_at": now}
    one = deployment(name, **{**fields, "start_deadline_at": now + 600, "created_at": now, **changes})
    fleet.keys.create(one.resource_name)
    return one


def refused(fleet: Fleet, progress: Silent | None = None) -> UserError:
    with pytest.raises(UserError) as raised:
        away.deploy(fleet, progress or Silent())
    return raised.value


def what_is_at_modal(clouds: Clouds) -> dict[str, object]:
    return {kind: found for kind, found in clouds.modal.state().items() if found}


def test_it_is_deployed_takes_its_first_turn_and_is_removed_with_all_that_it_had(
    clouds: Clouds, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_in(tmp_path, monkeypatch)
    clouds.launched(running(fleet, "odd"), tags=ODD_TAGS)
    told = Told()

    made = away.deploy(fleet, told)

    assert told.notes == [away.HANDED_OVER, "at Modal: gpu-odd-1: its tag gpu-cli:deadline-at cannot be read"]
    assert seen(fleet.paths).at_work
    assert recorded(fleet.paths) == made == Away("modal", fleet.clock.now(), made.account)
    assert stat.S_IMODE((fleet.paths.state / "away.json").stat().st_mode) == 0o600
    (app,) = clouds.modal.apps.deployed()
    assert app.commit is None  # the repository that it was deployed from is none of its business
    assert what_is_at_modal(clouds) == {
        "apps": [{"name": "gpu-guard", "functions": ["enforce"], "tags": {}}],
        "secrets": {"gpu-guard": ["GPU_LAMBDA_API_URL", "LAMBDA_API_KEY"]},
        "dicts": ["gpu-guard"],
    }

    assert away.undeploy(fleet)
    assert not what_is_at_modal(clouds)
    assert recorded(fleet.paths) is None
    assert clouds.modal.run_schedules() == []
    assert not away.undeploy(fleet)


@dataclass(frozen=True)
class Turn:
    """What one turn on schedule came to, and where."""

    clouds: Clouds
    fleet: Fleet
    ran: Ran

    def told_of(self, *names: str) -> list[str]:
        return [line for line in self.ran.value if line.startswith(tuple(f"gpu-{name}-1:" for name in names))]


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turn]:
    """With all sorts of instances about, an hour after the guard was heard that knew of most of them."""
    with both() as clouds, closing((fleet := fleet_of(clouds, tmp_path_factory.mktemp("home"))).store):
        away.deploy(fleet, Silent())
        now = fleet.clock.now()
        late = running(fleet, "late", deadline_at=now - 120)
        idle = running(fleet, "idle", active_at=now - HOUR_S)
        used = running(fleet, "used", active_at=now - HOUR_S)
        unheard = running(fleet, "unheard", active_at=now - HOUR_S)
        for one in (late, idle, used, unheard):
            clouds.launched(one)
        clouds.launched(running(fleet, "odd"), tags=ODD_TAGS)
        clouds.launched(running(fleet, "foreign", deadline_at=now - 120), tags=[])
        clouds.launched(late, name="theirs")
        away.beat(at(fleet, now - HOUR_S), [late, idle, used])
        away.beat(fleet, [used])
        (ran,) = clouds.modal.run_schedules()
        yield Turn(clouds, fleet, ran)


@pytest.fixture
def deployed(turn: Turn, monkeypatch: pytest.MonkeyPatch) -> Turn:
    """It goes on; the environment of this test points at it."""
    point_at(turn.clouds, monkeypatch)
    return turn


def test_what_is_late_or_idle_is_terminated_and_bills_no_more(turn: Turn) -> None:
    assert turn.ran.exception == ""
    assert turn.told_of("late", "idle") == ["gpu-late-1: terminated: deadline", "gpu-idle-1: terminated: idle"]
    assert not {"gpu-late-1", "gpu-idle-1"} & (turn.clouds.living() | turn.clouds.billed())


def test_what_is_in_use_as_far_as_anybody_knows_lives_on(turn: Turn) -> None:
    assert {"gpu-used-1", "gpu-unheard-1"} <= turn.clouds.living()
    assert turn.told_of("used", "unheard") == []


def test_what_is_not_ours_is_not_touched(turn: Turn) -> None:
    assert {"gpu-foreign-1", "theirs"} <= turn.clouds.living()


def test_what_cannot_be_read_is_left_alone_and_told(turn: Turn) -> None:
    assert "gpu-odd-1" in turn.clouds.living()
    assert turn.told_of("odd") == ["gpu-odd-1: its tag gpu-cli:deadline-at cannot be read"]


def test_the_key_is_in_the_secret_and_nowhere_else(turn: Turn) -> None:
    modal, key = turn.clouds.modal, turn.clouds.lambda_cloud.key
    logs = "".join(line for container in modal.containers_so_far for line in container.log)
    assert "terminated: idle" in logs
    assert key not in logs
    sources = b"".join(modal.files.sources())
    assert b"gpu-cli:" in sources
    assert key.encode() not in sources


def test_heartbeats_are_of_what_only_this_machine_can_reach(deployed: Turn) -> None:
    """The public one can be used without it, and another machine's is reached from there."""
    fleet = deployed.fleet
    elsewhere = running(fleet, "elsewhere")
    fleet.keys.forget(elsewhere.resource_name)
    public, other = running(fleet, "public", link=Link.DIRECT), running(fleet, "other", provider="vast")
    away.beat(fleet, [running(fleet, "mine"), elsewhere, public, other])
    names = b"".join(deployed.clouds.beats())
    assert b"gpu-mine-1" in names
    assert not [name for name in (b"elsewhere", b"public", b"other") if name in names]


def test_a_key_that_was_revoked_fails_each_turn_until_it_is_deployed_anew(
    deployed: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds, fleet = deployed.clouds, deployed.fleet
    monkeypatch.setattr(clouds.lambda_cloud, "key", "secret_another")
    (ran,) = clouds.modal.run_schedules()
    assert "Lambda refuses the key (401)" in ran.exception
    before = recorded(fleet.paths)
    assert before
    assert away.deploy(replace(fleet, environ=clouds.env), Silent()).account != before.account


def test_a_key_that_lambda_refuses_fails_loudly_and_leaves_nothing(clouds: Clouds, fleet: Fleet) -> None:
    told = Told()
    error = refused(replace(fleet, environ={**clouds.env, "LAMBDA_API_KEY": "secret_wrong"}), told)
    assert (error.exit_status, error.code) == (Exit.CREDENTIALS, "refused")
    assert error.message == "at Modal: Lambda refuses the key (401)"
    assert told.notes == [away.HANDED_OVER, "nothing of it is left at Modal"]
    assert not what_is_at_modal(clouds)
    assert recorded(fleet.paths) is None


@pytest.fixture
def another(deployed: Turn, home: Path) -> Iterator[Fleet]:
    """A fleet that has nothing of it on record."""
    with closing((made := fleet_of(deployed.clouds, home)).store):
        yield made


def test_without_a_key_for_lambda_modal_is_not_even_asked(another: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", NOBODY_LISTENS)
    error = refused(replace(another, environ={}))
    assert (error.exit_status, error.hint.partition(";")[0]) == (Exit.CREDENTIALS, "set LAMBDA_API_KEY")


@pytest.fixture
def guarded(deployed: Turn, another: Fleet) -> Fleet:
    """A fleet that has it on record."""
    shutil.copy(deployed.fleet.paths.state / "away.json", another.paths.state)
    return another


@pytest.mark.parametrize("secret", ["as-wrong", None])
def test_a_token_that_is_wrong_or_missing_is_told_with_where_to_get_one_and_changes_nothing(
    guarded: Fleet, monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    if secret:
        monkeypatch.setenv("MODAL_TOKEN_SECRET", secret)
    else:
        monkeypatch.delenv("MODAL_TOKEN_SECRET")
    told = Told()
    error = refused(guarded, told)
    assert (error.exit_status, error.code) == (Exit.CREDENTIALS, "modal-refused")
    assert "MODAL_TOKEN_ID" in error.hint
    assert told.notes == []
    assert recorded(guarded.paths)


@pytest.mark.parametrize("text", ["[broken", 'token_id = "ak-1"'])
def test_a_configuration_of_modals_that_cannot_be_read_is_told(
    another: Fleet, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (Path.home() / ".modal.toml").write_text(text)
    error = refused(another)
    assert (error.exit_status, error.code) == (Exit.CREDENTIALS, "modal-refused")
    assert ".modal.toml" in error.message
    assert capsys.readouterr() == ("", "")


def test_a_modal_that_does_not_answer_is_told_at_once(another: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", NOBODY_LISTENS)
    begun = time.monotonic()
    error = refused(another)
    assert (error.exit_status, error.code) == (Exit.LAUNCH_FAILED, "modal-unreachable")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("text", ["", "[]", '{"on": "modal"}', "half a rec"])
def test_a_record_that_cannot_be_read_protects_nobody(another: Fleet, text: str) -> None:
    (another.paths.state / "away.json").write_text(text)
    assert recorded(another.paths) is None


def test_what_hangs_on_it_is_ordered_as_long_as_it_takes_its_turns(another: Fleet) -> None:
    account = another.provider("lambda").account()
    record(another.paths, Away("modal", another.clock.now(), account), Seen())
    assert left(another, offer("cloud"), offer("lambda")) == ["lambda"]
    later = at(another, another.clock.now() + LATE_S + 60)
    with pytest.raises(UserError, match="cannot end themselves"):
        left(later, offer("lambda"))
    assert keepers(another).trouble == STANDS_STILL


# The heartbeats of the guard


def told(heartbeats: Heartbeats, live: Sequence[Deployment], capsys: pytest.CaptureFixture[str]) -> str:
    """What the guard's log says once this has been told, or not."""
    heartbeats.tell(live)
    if heartbeats._telling:
        heartbeats._telling.join()
    return capsys.readouterr().err


def test_without_a_guard_at_modal_there_are_no_heartbeats(
    another: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", NOBODY_LISTENS)
    assert told(Heartbeats(another), [running(another, "a")], capsys) == ""


def test_that_modal_hears_nothing_is_told_once_and_again_after_it_has_heard(
    guarded: Fleet, turn: Turn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gpu ls` has it as long as it lasts."""
    heartbeats, live, said = Heartbeats(guarded), [running(guarded, "a")], []
    troubled: list[bool] = []
    here = turn.clouds.modal.env["MODAL_SERVER_URL"]
    for url in (NOBODY_LISTENS, NOBODY_LISTENS, here, NOBODY_LISTENS):
        monkeypatch.setenv("MODAL_SERVER_URL", url)
        said.append(told(heartbeats, live, capsys))
        guarded.clock.sleep(EVERY_S)
        troubled.append(seen(guarded.paths).problem.startswith(UNHEARD))
    assert ["does not answer" in text for text in said] == [True, False, False, True]
    assert troubled == [True, True, False, True]
    assert said[1] == said[2] == ""


def test_a_clock_that_is_behind_does_not_make_what_is_in_use_look_idle(guarded: Fleet, turn: Turn) -> None:
    behind = at(guarded, guarded.clock.now() - HOUR_S)
    used = running(behind, "behind")
    for _ in range(2):  # the first one learns when the last turn was
        away.beat(behind, [used])
    with modal_client() as client:
        heard = modal.Dict.from_name(away.NAME, client=client).get(used.resource_name)
    assert guarded.clock.now() - 300 < heard["beat_at"] == heard["active_at"] <= time.time()


def test_heartbeats_come_once_a_minute(guarded: Fleet, turn: Turn, capsys: pytest.CaptureFixture[str]) -> None:
    heartbeats, live, heard = Heartbeats(guarded), [running(guarded, "a")], []
    for pause_s in (0, EVERY_S - 1, 1):
        guarded.clock.sleep(pause_s)
        assert told(heartbeats, live, capsys) == ""
        heard.append(dict(turn.clouds.beats()))
    assert heard[0] == heard[1] != heard[2]


def test_the_guard_tells_of_what_lives(guarded: Fleet, turn: Turn) -> None:
    guarded.store.add(running(guarded, "watched"))
    with closing(Guard(guarded, Event())) as guard:
        guard.turn()
        assert guard._heartbeats._telling
        guard._heartbeats._telling.join()
    assert b"gpu-watched-1" in b"".join(turn.clouds.beats())
