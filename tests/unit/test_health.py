"""The wait for an engine, seen from what its cloud and its endpoint say."""

# ruff: noqa: ARG002 - stand-ins take what the real ones take

from collections.abc import Callable, Sequence
from threading import Event

import pytest
from fleets import NOW, Cloud, FakeClock

from gpu_cli.fleet.launch.health import CANARY_TRIES, NO_PROGRESS_S, NotHealthy, Start, wait_until_healthy
from gpu_cli.fleet.reach.engine_client import EngineUnreachable
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Boot
from gpu_providers.errors import (
    CommandCrashed,
    HostFailed,
    InvalidRequest,
    NotFound,
    ProviderUnavailable,
)

BOOT_DEADLINE_S = 1200.0
VISIBLE_AFTER_S = 30.0


class Endpoint:
    """An engine that is healthy from `healthy_at` on; the way to it breaks under its first `breaks` completions."""

    def __init__(self, clock: FakeClock, healthy_at: float, breaks: int) -> None:
        self.clock, self.healthy_at, self.breaks = clock, healthy_at, breaks
        self.asked = 0
        self.is_let_go = Event()
        """Until then it holds what it is asked."""
        self.is_let_go.set()

    def is_healthy(self, *, held_s: float = 0.0) -> bool:
        self.asked += 1
        self.is_let_go.wait()
        return self.clock.now() >= self.healthy_at

    def models(self) -> Sequence[str]:
        return ["tiny"]

    def complete(self, model: str, *, timeout_s: float) -> str:
        self.breaks -= 1
        if self.breaks >= 0:
            raise EngineUnreachable("/v1/chat/completions: RemoteProtocolError")
        return "Paris"


class Connection:
    """Reaches an engine as soon as it is told where that is."""

    def __init__(self, engine: Endpoint, endpoint: str) -> None:
        self.engine = engine
        self.reached: list[str] = []
        self.client: Endpoint | None = None
        self.reach(endpoint)

    def reach(self, endpoint: str) -> None:
        if endpoint:
            self.reached.append(endpoint)
            self.client = self.engine


class Watched(Silent):
    """What a user would have seen."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.details: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str) -> None:
        if self.stages[-1:] != [name]:
            self.stages.append(name)

    def detail(self, text: str) -> None:
        self.details.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud() -> Cloud:
    cloud = Cloud()
    cloud.poll_interval_s = 5.0  # type: ignore[misc]
    cloud.add("gpu-tiny-1")
    return cloud


@pytest.fixture
def wait(clock: FakeClock, cloud: Cloud) -> Callable[..., Watched]:
    def wait(
        *,
        healthy_after_s: float = 1e9,
        deadline_s: float = 1e6,
        endpoint: str = "http://cloud",
        breaks: int = 0,
        on_request: bool = False,
        engine: Endpoint | None = None,
    ) -> Watched:
        watched = Watched()
        connection = Connection(engine or Endpoint(clock, NOW + healthy_after_s, breaks), endpoint)
        wait_until_healthy(
            Start(
                provider=cloud,
                resource_id="id-gpu-tiny-1",
                connection=connection,  # type: ignore[arg-type]
                model="tiny",
                deadline_at=NOW + deadline_s,
                boot_deadline_s=BOOT_DEADLINE_S,
                clock=clock,
                progress=watched,
                check_still_wanted=lambda: None,
                visible_at=NOW + VISIBLE_AFTER_S,
                on_request=on_request,
            )
        )
        return watched

    return wait


def test_a_host_is_watched_until_its_command_runs_and_then_the_engine(
    cloud: Cloud, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(False, "pulling the image: 1 of 3 layers"), Boot(False, "creating"), Boot(True, "", 5.0)]
    cloud.logged = ["Starting to load model"]
    watched = wait(healthy_after_s=60)
    assert watched.stages == ["boot", "load", "healthy", "canary"]
    assert "pulling the image: 1 of 3 layers" in watched.details


def test_the_cloud_is_asked_no_more_often_than_it_wants(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    looks: list[str] = []
    cloud.boot = lambda resource_id: looks.append(resource_id) or Boot(True, "")  # type: ignore[func-returns-value,method-assign]
    wait(healthy_after_s=60)
    assert len(looks) <= 60 / cloud.poll_interval_s + 1


def test_a_host_that_shows_no_progress_is_given_up_for_another_one(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(False, "")]
    with pytest.raises(HostFailed, match="no progress for 20m"):
        wait()
    assert BOOT_DEADLINE_S <= clock.now() - NOW < BOOT_DEADLINE_S + 10


def test_a_host_that_prints_what_its_command_says_is_not_given_up_whatever_the_cloud_calls_it(
    cloud: Cloud, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(False, "HIBERNATING")]
    cloud.logged = ["Starting to load model"]
    watched = wait(healthy_after_s=BOOT_DEADLINE_S + 300)
    assert watched.stages == ["boot", "load", "healthy", "canary"]


def test_a_host_that_never_opens_the_port_is_given_up_for_another_one_whatever_its_command_prints(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(False, "running, but its port is not open yet")]
    cloud.logged = ["Starting to load model"]
    with pytest.raises(HostFailed, match="no progress for 20m"):
        wait(endpoint="")
    assert clock.now() - NOW < BOOT_DEADLINE_S + 10


def test_a_host_that_still_pulls_is_waited_for(cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]) -> None:
    layers = 400
    cloud.boots = [Boot(False, f"layer {layer}") for layer in range(layers)] + [Boot(True, "", 1.0)]
    wait(healthy_after_s=layers * cloud.poll_interval_s + 60)
    assert clock.now() - NOW > BOOT_DEADLINE_S


@pytest.mark.parametrize("error", [HostFailed("cuda>=13.0"), InvalidRequest("no such image")])
def test_what_the_cloud_says_of_a_host_is_passed_on(
    cloud: Cloud, wait: Callable[..., Watched], error: Exception
) -> None:
    cloud.boots = [error]
    with pytest.raises(type(error), match=str(error)):
        wait()


def test_what_the_user_has_to_know_of_a_host_is_told_once(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    cloud.boots = [
        Boot(False, "logging in"),
        Boot(False, "checking", note="its host key was trusted on first use"),
        Boot(False, "pulling", note="its host key was trusted on first use"),
        Boot(True, "runs", note="its driver is old"),
    ]
    assert wait(healthy_after_s=60).notes == ["its host key was trusted on first use", "its driver is old"]


def test_a_command_that_ends_again_and_again_without_a_word_may_do_on_another_host(
    cloud: Cloud, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(True, "", 3.0), CommandCrashed("crash loop")]
    with pytest.raises(CommandCrashed):
        wait()


def test_a_command_that_was_started_anew_between_two_looks_has_crashed(
    cloud: Cloud, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(True, "", 30.0), Boot(True, "", 2.0)]
    with pytest.raises(CommandCrashed, match="started again"):
        wait()


def test_a_crash_that_the_log_explains_is_the_recipes_matter(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    cloud.boots = [CommandCrashed("crash loop")]
    cloud.logged = ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"]
    with pytest.raises(NotHealthy) as failed:
        wait()
    assert failed.value.diagnosis.code == "out-of-memory"


def test_what_destroyed_itself_is_explained_by_what_was_read_before(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    cloud.boots = [Boot(True, "", 3.0), NotFound("gone")]
    cloud.logged = ["[supervisor] ended reason=start-deadline detail=not ready after 60 s"]
    with pytest.raises(NotHealthy) as failed:
        wait()
    assert failed.value.diagnosis.code == "start-deadline"


def test_what_vanishes_when_it_was_at_work_already_is_not_its_hosts_fault(
    cloud: Cloud, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(True, "", 3.0), NotFound("gone")]
    with pytest.raises(NotHealthy) as failed:
        wait()
    assert failed.value.diagnosis.code == "engine-died"


def test_what_the_cloud_does_not_show_yet_is_waited_for(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    cloud.boots = [NotFound("no such instance")] * 5 + [Boot(True, "")]
    assert wait(healthy_after_s=60).stages[-1] == "canary"


def test_what_the_cloud_does_not_show_for_long_is_not_there(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [NotFound("no such instance")]
    with pytest.raises(HostFailed, match="vanished while it was booting"):
        wait()
    assert VISIBLE_AFTER_S <= clock.now() - NOW < VISIBLE_AFTER_S + 2 * cloud.poll_interval_s


def test_an_endpoint_may_be_known_only_when_the_command_runs(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    cloud.boots = [Boot(False, "pulling"), Boot(True, "", endpoint="http://1.2.3.4:30001")]
    assert wait(endpoint="", healthy_after_s=1).stages[-1] == "canary"


def test_nothing_is_asked_of_an_engine_whose_place_is_not_known(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(True, "")]
    with pytest.raises(NotHealthy):
        wait(endpoint="", healthy_after_s=0, deadline_s=100)


def test_a_cloud_that_does_not_answer_proves_nothing(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    cloud.boots = [ProviderUnavailable("down")]
    assert wait(healthy_after_s=300).stages[-1] == "canary"


def test_an_engine_that_says_nothing_for_long_has_come_to_a_standstill(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(True, "", None)]
    with pytest.raises(NotHealthy) as failed:
        wait()
    assert failed.value.diagnosis.code == "no-progress"
    assert clock.now() - NOW < NO_PROGRESS_S + 10


def test_nothing_is_waited_for_beyond_the_start_deadline(cloud: Cloud, wait: Callable[..., Watched]) -> None:
    cloud.boots = [Boot(False, "")]
    with pytest.raises(NotHealthy) as failed:
        wait(deadline_s=100)
    assert failed.value.diagnosis.code == "start-deadline"


def test_a_completion_whose_connection_breaks_is_tried_again(wait: Callable[..., Watched]) -> None:
    assert wait(healthy_after_s=1, breaks=CANARY_TRIES - 1).stages[-1] == "canary"


def test_but_not_for_ever(wait: Callable[..., Watched]) -> None:
    with pytest.raises(NotHealthy, match=r"the engine does not work: .*RemoteProtocolError"):
        wait(healthy_after_s=1, breaks=CANARY_TRIES)


# --- what is started by a request ------------------------------------------------------------------------------------


def test_what_starts_on_request_boots_until_its_engine_says_something(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    def say() -> None:
        cloud.logged = ["Starting to load model"] if clock.now() > NOW + 30 else []

    cloud.boots = [Boot(True, "1 container pending")]
    clock.on_sleep = say
    watched = wait(healthy_after_s=60, on_request=True)
    assert watched.stages == ["boot", "load", "healthy", "canary"]
    assert "1 container pending" in watched.details


def test_where_no_worker_comes_up_another_offer_may_do(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    cloud.boots = [Boot(True, "1 container pending")]
    with pytest.raises(HostFailed, match="none of its workers came up for 20m"):
        wait(on_request=True)
    assert BOOT_DEADLINE_S <= clock.now() - NOW < BOOT_DEADLINE_S + 10


def test_a_request_that_is_held_is_the_only_one_and_holds_up_nothing(
    cloud: Cloud, clock: FakeClock, wait: Callable[..., Watched]
) -> None:
    engine = Endpoint(clock, NOW, breaks=0)
    engine.is_let_go.clear()
    with pytest.raises(NotHealthy) as failed:
        wait(on_request=True, engine=engine, deadline_s=100)
    assert (failed.value.diagnosis.code, engine.asked) == ("start-deadline", 1)
    engine.is_let_go.set()
