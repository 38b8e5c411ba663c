"""On which other cards the workers of an endpoint may run, and what it may cost then."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import Cloud, FakeClock, make_fleet
from model_configs import LLAMA_8B
from sellers import offer

from gpu_cli import __version__
from gpu_cli.config.settings import Limits
from gpu_cli.fleet.end.stops import worst_case_usd
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.launch.failover import launch
from gpu_cli.fleet.launch.fallback_cards import fallbacks
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.locks import Lock, released
from gpu_cli.planner.configurations import Configurations
from gpu_cli.planner.engine.engine_settings import EngineVersion
from gpu_cli.planner.model.model_config import parse_config
from gpu_cli.planner.model.parameters import weight_parts
from gpu_cli.planner.rank import Candidate, rank
from gpu_cli.planner.sizing import Workload
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Kind, LaunchRequest, Offer, Resource
from gpu_providers.gpus import GPUS

RECIPE = parse_recipe("model: A/B\nlimits: {ttl: 1h}\n", Path("/tiny.yaml"), shown="tiny.yaml")
PRICES = {"A100-80GB": 1.0, "H100": 4.0, "H200": 5.0, "B200": 6.0, "B300": 7.0}


class Choosing(Cloud):
    """A cloud that takes the first card that can be had; it keeps what was ordered."""

    chooses_cards = True

    def launch(self, request: LaunchRequest) -> Resource:
        self.ordered = request
        return super().launch(request)


def sold(gpu: str, price: float = 0.0, count: int = 1, kind: Kind = Kind.SERVERLESS, provider: str = "cloud") -> Offer:
    made = offer(provider, price or PRICES[gpu], kind)
    return replace(made, offer_id=f"{provider}-{kind}-{gpu}-{count}", gpu=gpu, gpu_count=count,
                   gpu_memory_gib=GPUS[gpu].memory_gib)  # fmt: skip


def planned(*offers: Offer, context: int = 8192, concurrency: int = 8) -> tuple[Candidate, ...]:
    """Ranked for Llama 8B, the cheapest that fits first."""
    facts = parse_config(LLAMA_8B, model="org/model")
    workload = Workload(context, concurrency)
    served = Configurations(facts, weight_parts(facts), workload, EngineVersion(0, 32), {})
    return rank(RECIPE, offers, served).candidates


def cards(candidates: tuple[Candidate, ...], max_price: float | None = 10.0, cloud: Cloud | None = None) -> list[str]:
    found = fallbacks(candidates[0], candidates, cloud or Choosing(), max_price)
    return [one.gpu for one in found]


ALL = [sold(gpu) for gpu in ("H100", "H200", "B200", "B300")]


def test_the_next_three_cards_of_the_plan_will_do_as_well() -> None:
    assert cards(planned(*ALL)) == ["H200", "B200", "B300"]
    assert cards(planned(*ALL, sold("A100-80GB"))) == ["H100", "H200", "B200"]


def test_nobody_pays_more_than_for_the_first_without_having_said_so() -> None:
    assert cards(planned(*ALL), max_price=None) == []


def test_a_cloud_that_does_not_choose_is_given_no_choice() -> None:
    assert cards(planned(*ALL), cloud=Cloud()) == []


@pytest.mark.parametrize(
    "other",
    [
        sold("H200", kind=Kind.POD),
        sold("H200", provider="other"),
        sold("H200", count=2),
        sold("L40S", 4.5),
        sold("H100", 4.5),
    ],
    ids=lambda other: other.offer_id,
)
def test_another_kind_cloud_number_or_size_of_cards_is_another_order(other: Offer) -> None:
    assert cards(planned(sold("H100"), other)) == []


def test_what_comes_before_it_in_the_plan_has_been_tried_already() -> None:
    candidates = planned(*ALL)
    found = fallbacks(candidates[1], candidates, Choosing(), 10.0)
    assert [one.gpu for one in found] == ["B200", "B300"]


def test_an_older_card_is_left_out_where_the_first_fits_only_with_a_cache_that_it_may_not_have() -> None:
    small_cache = planned(sold("L4", 0.5), sold("A100-80GB"), sold("H100"))
    assert small_cache[0].sizing
    assert small_cache[0].sizing.settings.kv_cache_dtype == "fp8"
    assert cards(small_cache) == ["H100"]
    plain = planned(sold("L40S", 0.5), sold("A100-80GB"), sold("H100"))
    assert cards(plain) == ["A100-80GB", "H100"]


# --- in a launch -----------------------------------------------------------------------------------------------------


class Told(Silent):
    """What was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def cloud() -> Choosing:
    return Choosing()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Choosing) -> Iterator[Fleet]:
    """With a guard at work, as far as anyone can tell."""
    fleet = make_fleet(tmp_path, cloud, FakeClock())
    with released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        yield fleet
    fleet.store.close()


def launched(fleet: Fleet, max_price: float | None, *offers: Offer) -> tuple[float, float, list[str]]:
    """What an hour of it costs and its whole life at most, as it is on record, and what the user is told."""
    told, limits = Told(), Limits(600.0, 3600.0, 1800.0, 60.0, None, max_price)
    made = launch(fleet, Wanted(RECIPE, "tiny", limits, wait=False), planned(*offers), told, [])
    recorded = fleet.store.get(made.resource_name)
    return recorded.price_usd_per_hour, worst_case_usd(recorded), told.notes


def test_a_launch_that_leaves_the_choice_counts_with_the_dearest_and_says_so(fleet: Fleet, cloud: Choosing) -> None:
    price, worst, notes = launched(fleet, 5.5, sold("H100"), sold("H200"))
    assert (price, worst) == (5.0, pytest.approx(5.0))
    assert notes == ["may run on H200 at $5.00/h where there is no H100"]
    assert [one.gpu for one in cloud.ordered.instead] == ["H200"]
    assert cloud.ordered.offer.gpu == "H100"


def test_without_a_choice_it_costs_what_was_offered(fleet: Fleet, cloud: Choosing) -> None:
    price, worst, notes = launched(fleet, None, sold("H100"), sold("H200"))
    assert (price, worst, notes, cloud.ordered.instead) == (4.0, pytest.approx(4.0), [], ())
