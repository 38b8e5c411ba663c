"""What Modal sells and for how much: the GPUs with the cores and the memory that a container gets, times its region."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.base import Kind, Offer, Search
from gpu_providers.modal_cloud.cards import CARDS, COUNTS
from gpu_providers.modal_cloud.offers import hour_price, offers, resources_of, why_none
from gpu_providers.modal_cloud.options import Options
from gpu_providers.modal_cloud.rates import LISTED, Rates

ANY, DEFAULTS = Search(), Options()


def sold(search: Search = ANY, options: Options = DEFAULTS, rates: Rates = LISTED) -> dict[str, Offer]:
    return {offer.offer_id: offer for offer in offers(search, options, rates)}


def test_a_container_costs_its_gpus_cores_and_memory() -> None:
    offer = sold()["modal-2xH100"]
    assert offer.price_parts == pytest.approx({"gpu": 2 * 3.95, "cpu": 6 * 0.0473, "memory": 64 * 0.008})
    assert offer.price_usd_per_hour == pytest.approx(7.90 + 0.2838 + 0.512)
    assert (offer.kind, offer.gpu, offer.gpu_count, offer.region) == (Kind.SERVERLESS, "H100", 2, "")
    assert (offer.prices_as_of, offer.interruptible) == (LISTED.as_of, False)


def test_a_recipe_that_asks_for_more_cores_or_memory_pays_for_them() -> None:
    offer = sold(options=Options(cpu=10, memory_gib=100))["modal-1xL4"]
    assert offer.price_parts == pytest.approx({"gpu": 0.80, "cpu": 0.473, "memory": 0.8})


def test_each_card_comes_in_the_numbers_that_one_container_takes() -> None:
    counts = {card: [offer.gpu_count for offer in sold().values() if offer.gpu == card] for card in CARDS}
    assert counts["A10"] == [1, 2, 4]
    assert counts["RTX-PRO-6000-SERVER"] == [1]
    assert {tuple(counts[card]) for card in CARDS.keys() - {"A10", "RTX-PRO-6000-SERVER"}} == {COUNTS}


@pytest.mark.parametrize(
    ("wanted", "there", "times"),
    [
        ("eu", "eu-west", 1.75),
        ("us", "us, us-east", 1.5),
        ("us-east", "us-east", 1.75),
        ("jp", "us, us-east, eu-west", 1.5),  # the planner leaves it out
        (None, "us, us-east, eu-west", 1.5),
    ],
)
def test_of_several_regions_those_that_are_meant_are_offered_at_their_own_price(
    wanted: str | None, there: str, times: float
) -> None:
    options = Options(regions=("us", "us-east", "eu-west"))
    offer = sold(Search(region=wanted), options)["modal-1xH200"]
    assert offer.region == there
    assert offer.price_usd_per_hour == pytest.approx(sold()["modal-1xH200"].price_usd_per_hour * times, abs=1e-5)


@pytest.mark.parametrize(
    ("regions", "times"),
    [
        (("us",), 1.5),
        (("us-east",), 1.75),
        (("us-east", "eu-west"), 1.75),
        (("us-east", "eu"), 1.5),
        (("jp",), 1.75),
        (("moon",), 1.75),
    ],
)
def test_a_region_costs_more_and_of_several_the_wider_one_counts(regions: tuple[str, ...], times: float) -> None:
    anywhere, there = sold()["modal-1xH200"], sold(options=Options(regions=regions))["modal-1xH200"]
    assert there.price_usd_per_hour == pytest.approx(anywhere.price_usd_per_hour * times, abs=1e-5)
    assert there.price_parts["region"] == pytest.approx(anywhere.price_usd_per_hour * (times - 1), abs=1e-5)
    assert there.region == ", ".join(regions)


@given(
    card=st.sampled_from(list(CARDS)),
    count=st.sampled_from(COUNTS),
    cpu=st.none() | st.floats(0.125, 256),
    memory_gib=st.none() | st.floats(1, 4096),
    regions=st.lists(st.sampled_from(["us", "eu-west", "jp", "mx"]), max_size=3),
)
def test_the_parts_of_a_price_add_up_and_none_is_free(
    card: str, count: int, cpu: float | None, memory_gib: float | None, regions: list[str]
) -> None:
    options = Options(cpu=cpu, memory_gib=memory_gib, regions=tuple(regions))
    parts = hour_price(LISTED, card, count, *resources_of(options, count), options.regions)
    assert min(parts.values()) > 0
    for offer in sold(options=options).values():
        assert sum(offer.price_parts.values()) == pytest.approx(offer.price_usd_per_hour, abs=1e-5)
        if (offer.gpu, offer.gpu_count) == (card, count):
            assert offer.price_parts == parts


def test_prices_are_those_of_the_account_and_a_card_without_one_is_not_sold() -> None:
    told = Rates(
        {"gpu_hour_cost_l4": 0.5, "cpu_hour_cost": 0.01, "mem_gib_hour_cost": 0.001}, datetime(2026, 11, 2, tzinfo=UTC)
    )
    found = sold(rates=told)
    assert {offer.gpu for offer in found.values()} == {"L4"}
    assert found["modal-1xL4"].price_usd_per_hour == pytest.approx(0.5 + 0.04 + 0.032)
    assert found["modal-1xL4"].prices_as_of == told.as_of


def test_only_the_cards_that_will_do_are_offered() -> None:
    found = sold(Search(kind=Kind.SERVERLESS, cards=("H100", "H100-PCIE")))
    assert list(found) == [f"modal-{count}xH100" for count in COUNTS]


def test_a_b300_is_sold_to_images_that_run_on_it() -> None:
    assert "modal-1xB300" in sold()
    assert "modal-1xB300" in sold(Search(min_cuda_version="13.1"))
    assert "modal-1xB300" not in sold(Search(min_cuda_version="13.0"))
    assert "modal-1xB200" in sold(Search(min_cuda_version="13.0"))


@pytest.mark.parametrize(
    ("search", "why"),
    [
        (Search(kind=Kind.POD), "Modal rents out serverless endpoints, no pod"),
        (Search(cards=("RTX-4090", "A40")), "Modal has no RTX-4090 or A40"),
        (
            Search(cards=("B300",), min_cuda_version="13.0"),
            "Modal's B300 needs an image of CUDA 13.1, and this is 13.0",
        ),
    ],
)
def test_where_there_is_nothing_the_reason_is_told(search: Search, why: str) -> None:
    assert offers(search, DEFAULTS, LISTED) == []
    assert why_none(search) == why


def test_what_a_launch_needs_of_disk_changes_nothing() -> None:
    assert sold(replace(ANY, disk_gib=2000)) == sold()
