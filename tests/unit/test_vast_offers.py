"""What Vast.ai's search comes to as offers: only what is within every bound, at the price of the whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulators.vast import VastEmulator
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import Reply, ScriptedServer, said
from vast_rows import DISK_HOURS, row

from gpu_cli.planner.offers.session_price import USUAL_SESSION, session_price
from gpu_providers.base import Kind, LaunchRequest, Offer, Search, Secret
from gpu_providers.errors import InvalidRequest, NoCapacity, QuotaExceeded, RateLimited
from gpu_providers.gpus import GPUS
from gpu_providers.http import Http
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.names import OfferId, gpu_names
from gpu_providers.vast.offers import PAGES, fresh, search_offers, why_none
from gpu_providers.vast.options import Options, parse_options
from gpu_providers.vast.query import PAGE_ROWS
from gpu_providers.vast.search_cache import SearchCache

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GIB_PER_GB = 10**9 / 2**30
HTTP = Http()
"""Of all tests: certificates take long to load."""
TOO_MANY = said({"success": False, "error": "HTTPTooManyRequests"}, 429, **{"Retry-After": "60"})


def quota_used_up(until: datetime) -> Reply:
    headers = {"X-RateLimit-Reset": str(int(until.timestamp()))}
    return said({"success": False, "error": "search_quota_exceeded"}, 429, **headers)


class Vast:
    """A Vast.ai that gives these pages in this order, whatever it is asked; `asked` is what it was asked."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.server = server
        self.now = NOW
        self.cache = SearchCache(folder, lambda: self.now)
        self.client = VastClient(Secret("vast-key"), server.url, HTTP)

    def gives(self, *pages: Sequence[Mapping[str, Any]] | Reply) -> "Vast":
        self.server.replies.extend(page if isinstance(page, Reply) else said({"offers": page}) for page in pages)
        return self

    def offers(self, search: Search | None = None) -> list[Offer]:
        search = search or Search(disk_gib=100)
        return search_offers(self.client, self.cache, search, parse_options(search.options), self.now)

    def offer(self, search: Search | None = None) -> Offer:
        (offer,) = self.offers(search)
        return offer

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [asked.body for asked in self.server.asked]


@pytest.fixture
def vast(tmp_path: Path) -> Iterator[Vast]:
    with ScriptedServer() as server:
        yield Vast(tmp_path, server)


def page_of(first_id: int, prices: Sequence[float]) -> list[dict[str, Any]]:
    return [row(first_id + number, price, machine_id=first_id + number) for number, price in enumerate(prices)]


# What is on offer


def test_an_offer_carries_what_its_launch_and_its_rank_need(vast: Vast) -> None:
    offer = vast.gives([row(1234567, 2.0)]).offer()
    assert offer.offer_id == "vast-1234567-1xH100 SXM-m4711"
    assert (offer.provider, offer.kind, offer.gpu, offer.gpu_count) == ("vast", Kind.POD, "H100", 1)
    assert offer.gpu_memory_gib == GPUS["H100"].memory_gib
    assert (offer.region, offer.host, offer.interruptible) == ("Sweden, SE", "4711", False)
    assert offer.prices_as_of == NOW


def test_the_price_is_that_of_the_gpus_and_of_the_disk_that_will_be_asked_for(vast: Vast) -> None:
    offer = vast.gives([row(usd_per_hour=2.0, storage_cost=0.15)]).offer(Search(disk_gib=100))
    assert offer.price_parts == {"gpu": 2.0, "disk": pytest.approx(108 * 0.15 / DISK_HOURS)}
    assert offer.price_usd_per_hour == sum(offer.price_parts.values())
    assert offer.disk_usd_per_gib_hour == 0


def test_a_machine_that_lost_its_verification_is_no_offer_even_where_unverified_ones_are(vast: Vast) -> None:
    search = Search(disk_gib=100, options={"verified": False})
    vast.gives([row(1, 1.0, verification="unverified"), row(2, 0.9, machine_id=2, verification="deverified")])
    assert [OfferId.parse(offer.offer_id).ask_id for offer in vast.offers(search)] == [1]


@pytest.mark.parametrize("total", [0.01, 99.0, None, "free"])
def test_a_total_that_tells_another_price_changes_nothing(vast: Vast, total: object) -> None:
    offer = vast.gives([row(usd_per_hour=2.0, dph_total=total)]).offer()
    assert offer.price_parts["gpu"] == 2.0


def test_as_long_as_the_disk_is_not_known_its_rate_is_told(vast: Vast) -> None:
    offer = vast.gives([row(usd_per_hour=2.0, storage_cost=0.15)]).offer(Search())
    assert offer.price_parts == {"gpu": 2.0, "disk": 0}
    assert offer.disk_usd_per_gib_hour == pytest.approx(0.15 / DISK_HOURS / GIB_PER_GB)
    assert vast.asked[0]["allocated_storage"] == 8


def test_the_recipes_disk_decides_what_is_asked_for_and_its_price(vast: Vast) -> None:
    offer = vast.gives([row(storage_cost=0.15)]).offer(Search(disk_gib=100, options={"disk_gb": 500}))
    assert offer.price_parts["disk"] == pytest.approx(500 * 0.15 / DISK_HOURS)
    assert (vast.asked[0]["allocated_storage"], vast.asked[0]["disk_space"]) == (500, {"gte": 500})


def test_traffic_is_told_by_the_gib_and_the_line_in_bytes(vast: Vast) -> None:
    offer = vast.gives([row(inet_down_cost=0.02, inet_down=800)]).offer()
    assert offer.traffic_usd_per_gib == pytest.approx(0.02 / GIB_PER_GB)
    assert offer.bandwidth_mb_per_s == 100


def test_a_host_that_was_up_more_is_more_likely_to_boot(vast: Vast) -> None:
    rows = [row(number, reliability=share) for number, share in enumerate((0.0, 0.6, 0.97, 0.999, 1.0), 1)]
    odds = [offer.boot_odds for offer in vast.gives(rows).offers(Search(options={"reliability": 0}))]
    assert all(each is not None and 0 < each < 1 for each in odds)
    assert odds == sorted(odds, key=float)
    assert odds[2] == pytest.approx(0.85, abs=0.02)


@pytest.mark.parametrize(
    ("geolocation", "region"), [("California, US", "California, US"), (", US", "US"), (None, ""), ("", "")]
)
def test_the_region_is_what_the_host_tells_of_its_place(vast: Vast, geolocation: str | None, region: str) -> None:
    assert vast.gives([row(geolocation=geolocation)]).offer().region == region


def test_a_hundred_with_forty_and_with_eighty_are_told_apart_by_their_memory(vast: Vast) -> None:
    rows = [row(1, gpu_name="A100 SXM4", gpu_ram=40960), row(2, gpu_name="A100 SXM4", gpu_ram=81920)]
    assert [offer.gpu for offer in vast.gives(rows).offers()] == ["A100-40GB", "A100-80GB"]
    vast.now += timedelta(hours=1)
    assert [offer.gpu for offer in vast.gives(rows).offers(Search(cards=("A100-80GB",)))] == ["A100-80GB"]


def test_the_slices_of_one_machine_are_offers_of_their_own(vast: Vast) -> None:
    offers = vast.gives([row(1, 2.0, num_gpus=1), row(2, 16.0, num_gpus=8)]).offers()
    assert [(offer.gpu_count, offer.price_parts["gpu"], offer.host) for offer in offers] == [
        (1, 2.0, "4711"),
        (8, 16.0, "4711"),
    ]


# What is asked


def test_one_query_says_all_that_a_careful_person_would(vast: Vast) -> None:
    vast.gives([]).offers(
        Search(
            cards=("H100", "A100-80GB"),
            min_cuda_version="13.0",
            min_gpu_memory_gib=75,
            max_price_usd_per_hour=3.5,
            disk_gib=100,
            ttl_s=86_400,
        )
    )
    (asked,) = vast.server.asked
    assert (asked.method, asked.path) == ("POST", "/api/v0/bundles/")
    assert asked.body == {
        "type": "on-demand",
        "limit": 64,
        "order": [["dph_total", "asc"]],
        "allocated_storage": 108,
        "dph_total": {"lte": 3.5},
        "gpu_name": {"in": ["A100 SXM", "A100 SXM4", "H100 SXM"]},
        "num_gpus": {"in": [1, 2, 4, 8]},
        "verified": {"eq": True},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "external": {"eq": False},
        "cpu_arch": {"eq": "amd64"},
        "gpu_arch": {"eq": "nvidia"},
        "reliability": {"gte": 0.97},
        "inet_down": {"gte": 500},
        "direct_port_count": {"gte": 1},
        "disk_space": {"gte": 108},
        "duration": {"gte": pytest.approx(86_400 * 1.1)},
        "cuda_max_good": {"gte": 13.0},
        "compute_cap": {"gte": 700},
        "gpu_total_ram": {"gte": 75 * 1024},
    }


def test_without_cards_all_that_our_catalogue_knows_are_asked_for(vast: Vast) -> None:
    vast.gives([]).offers(Search())
    assert vast.asked[0]["gpu_name"] == {"in": gpu_names()}
    assert "dph_total" not in vast.asked[0]


def test_the_recipe_moves_every_bound(vast: Vast) -> None:
    options = {
        "reliability": 0.9,
        "verified": False,
        "datacenter": True,
        "regions": ["SE", "no"],
        "min_duration": 604_800,
        "min_inet_down_mbps": 100,
        "min_direct_ports": 2,
    }
    vast.gives([]).offers(Search(options=options, ttl_s=3600))
    asked = vast.asked[0]
    assert "verified" not in asked
    assert {name: asked[name] for name in ("datacenter", "geolocation", "duration", "direct_port_count")} == {
        "datacenter": {"eq": True},
        "geolocation": {"in": ["SE", "NO"]},
        "duration": {"gte": 604_800},
        "direct_port_count": {"gte": 2},
    }
    assert (asked["reliability"], asked["inet_down"]) == ({"gte": 0.9}, {"gte": 100})


@pytest.mark.parametrize(
    "search",
    [
        Search(cards=("MI300X",)),
        Search(kind=Kind.SERVERLESS),
        Search(volume="weights"),
    ],
)
def test_what_vast_never_has_is_not_asked_for(vast: Vast, search: Search) -> None:
    assert vast.offers(search) == []
    assert vast.asked == []


def test_an_option_that_makes_no_sense_is_refused_before_anything_is_asked(vast: Vast) -> None:
    with pytest.raises(InvalidRequest, match="reliability"):
        vast.offers(Search(options={"reliability": 97}))
    assert vast.asked == []


# What is answered to bounds that were not heeded

BOUNDED = Search(
    cards=("H100", "A100-80GB"),
    min_cuda_version="13.0",
    min_gpu_memory_gib=75,
    max_price_usd_per_hour=2.5,
    disk_gib=100,
    ttl_s=86_400,
    options={"regions": ["SE", "US"], "datacenter": True},
)


OUTSIDE: Sequence[dict[str, Any]] = (
    {"gpu_name": "RTX 4090", "gpu_ram": 24564},
    {"gpu_name": "H100_SXM"},
    {"gpu_name": "A100 SXM4", "gpu_ram": 40960},
    {"gpu_ram": 40960},
    {"num_gpus": 3},
    {"num_gpus": 0},
    {"gpu_total_ram": 76_799},
    {"verification": "unverified"},
    {"verification": "deverified"},
    {"verification": None},
    {"hosting_type": 0},
    {"hosting_type": None},
    {"geolocation": "Quebec, CA"},
    {"geolocation": None},
    {"rentable": False},
    {"rented": True},
    {"external": True},
    {"cpu_arch": "arm64"},
    {"gpu_arch": "amd"},
    {"reliability": 0.9699},
    {"reliability": None},
    {"inet_down": 499.9},
    {"direct_port_count": 0},
    {"disk_space": 107.9},
    {"duration": 86_400 * 1.09},
    {"cuda_max_good": 12.8},
    {"cuda_max_good": "unknown"},
    {"compute_cap": 610},
    {"dph_base": 2.5},
    {"storage_cost": 10.0},
)
UNTOLD: Sequence[dict[str, Any]] = (
    {"machine_id": None},
    {"num_gpus": None},
    {"num_gpus": True},
    {"gpu_name": None},
    {"dph_base": None},
    {"dph_base": -2.0},
    {"dph_base": 0},
    {"dph_base": float("nan")},
    {"dph_base": float("inf")},
    {"storage_cost": None},
    {"storage_cost": -0.1},
    {"inet_down_cost": None},
    {"inet_down_cost": -0.1},
)
GOOD: dict[str, Any] = {"gpu_name": "A100 SXM4", "gpu_ram": 81920, "geolocation": ", US"}


def taken(vast: Vast, changes: Sequence[dict[str, Any]], search: Search) -> list[dict[str, Any]]:
    """Those of the changes to a row with which it is an offer."""
    offers = vast.gives([row(number, **each) for number, each in enumerate(changes, 1)]).offers(search)
    return [changes[OfferId.parse(offer.offer_id).ask_id - 1] for offer in offers]


def test_a_row_outside_of_any_bound_is_no_offer(vast: Vast) -> None:
    assert taken(vast, [*OUTSIDE, GOOD], BOUNDED) == [GOOD]


def test_a_row_that_does_not_say_what_it_is_or_costs_is_no_offer(vast: Vast) -> None:
    assert taken(vast, [*UNTOLD, GOOD], BOUNDED) == [GOOD]


def test_a_row_without_an_id_that_can_be_rented_is_no_offer(vast: Vast) -> None:
    rows = [{**row(), "id": ask_id} for ask_id in (None, "none", -1, 0, 1.5, 7)]
    assert vast.gives(rows).offer().offer_id == "vast-7-1xH100 SXM-m4711"


def test_what_a_row_does_not_tell_is_left_to_the_searchs_own_word(vast: Vast) -> None:
    needed = {"id", "machine_id", "gpu_name", "num_gpus", "dph_base", "storage_cost", "inet_down_cost"}
    bare = [{name: value for name, value in row(number).items() if name in needed} for number in (1, 2)]
    known_memory = {**bare[1], "gpu_name": "A100 SXM4", "gpu_ram": 81920}
    offers = vast.gives([bare[0], known_memory]).offers()
    assert [(offer.gpu, offer.boot_odds, offer.bandwidth_mb_per_s) for offer in offers] == [
        ("H100", None, None),
        ("A100-80GB", None, None),
    ]


def test_null_is_how_a_free_host_says_no(vast: Vast) -> None:
    said_no: list[dict[str, Any]] = [
        {"rented": rented, "external": no} for rented in (None, False) for no in (None, False)
    ]
    assert taken(vast, said_no, Search()) == said_no


def test_numbers_may_be_text(vast: Vast) -> None:
    told = row(7, num_gpus="1", dph_base="2.0", reliability="0.99", machine_id="4711", gpu_ram="81559")
    offer = vast.gives([{**told, "gpu_total_ram": "81559"}]).offer()
    assert (offer.offer_id, offer.price_parts["gpu"]) == ("vast-7-1xH100 SXM-m4711", 2.0)


# Pages


def test_a_short_page_is_the_last(vast: Vast) -> None:
    assert len(vast.gives(page_of(1, [2.0] * 63)).offers()) == 63
    assert len(vast.asked) == 1


def test_a_full_page_is_followed_by_what_costs_as_much_as_its_last_row_or_more(vast: Vast) -> None:
    first = page_of(1, [1 + number / 100 for number in range(PAGE_ROWS)])
    second = [first[-1], *page_of(1000, [3.0, 4.0])]
    assert len(vast.gives(first, second).offers(Search(max_price_usd_per_hour=9.0))) == PAGE_ROWS + 2
    one, two = vast.asked
    assert one["dph_total"] == {"lte": 9.0}
    assert two["dph_total"] == {"lte": 9.0, "gte": first[-1]["dph_total"]}
    assert {**one, "dph_total": 0} == {**two, "dph_total": 0}


def test_a_page_of_one_price_is_followed_by_what_costs_more(vast: Vast) -> None:
    first, second = page_of(1, [2.0] * PAGE_ROWS), page_of(1000, [3.0])
    assert len(vast.gives(first, second).offers()) == PAGE_ROWS + 1
    assert vast.asked[1]["dph_total"] == {"gt": first[0]["dph_total"]}


def test_more_of_one_price_on_the_next_page_is_not_lost(vast: Vast) -> None:
    first = page_of(1, [1.0] + [2.0] * (PAGE_ROWS - 1))
    second = first[2:] + page_of(1000, [2.0, 2.0])
    third = page_of(2000, [3.0])
    found = vast.gives(first, second[-PAGE_ROWS:], third).offers()
    assert len(found) == len({offer.offer_id for offer in found}) == PAGE_ROWS + 3
    assert [next(iter(asked["dph_total"])) for asked in vast.asked[1:]] == ["gte", "gt"]


def test_a_search_that_gives_the_same_page_for_ever_is_not_asked_for_ever(vast: Vast) -> None:
    page = page_of(1, [1 + number / 100 for number in range(PAGE_ROWS)])
    assert len(vast.gives(*[page] * PAGES).offers()) == PAGE_ROWS
    assert len(vast.asked) == PAGES


def test_a_page_without_prices_is_the_last(vast: Vast) -> None:
    page = [{**each, "dph_total": None} for each in page_of(1, [2.0] * PAGE_ROWS)]
    assert len(vast.gives(page).offers()) == PAGE_ROWS


# The limits of the search


def test_the_pages_that_came_before_too_many_requests_are_offered(vast: Vast) -> None:
    first = page_of(1, [1 + number / 100 for number in range(PAGE_ROWS)])
    assert len(vast.gives(first, TOO_MANY).offers()) == PAGE_ROWS


def test_too_many_requests_at_once_are_told(vast: Vast) -> None:
    with pytest.raises(RateLimited):
        vast.gives(TOO_MANY).offers()


def test_once_the_quota_is_used_up_nothing_is_asked_until_its_reset(vast: Vast) -> None:
    midnight = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    vast.now = datetime.now(UTC)
    with pytest.raises(QuotaExceeded):
        vast.gives(quota_used_up(midnight)).offers()
    with pytest.raises(QuotaExceeded) as told:
        vast.offers(Search(cards=("H200",)))
    assert f"{midnight:%H:%M}" in told.value.hint
    assert len(vast.asked) == 1
    vast.now = midnight + timedelta(seconds=1)
    assert vast.gives([row()]).offer().gpu == "H100"


def test_a_quota_that_ends_between_two_pages_is_remembered_and_the_first_is_offered(vast: Vast) -> None:
    vast.now = datetime.now(UTC)
    first = page_of(1, [1 + number / 100 for number in range(PAGE_ROWS)])
    assert len(vast.gives(first, quota_used_up(vast.now + timedelta(hours=3))).offers()) == PAGE_ROWS
    with pytest.raises(QuotaExceeded):
        vast.offers(Search(cards=("H200",)))


def test_the_same_search_is_answered_from_memory_with_the_time_of_its_prices(vast: Vast) -> None:
    before = vast.gives([row()]).offers()
    vast.now += timedelta(seconds=50)
    assert vast.offers() == before
    assert before[0].prices_as_of == NOW
    assert len(vast.asked) == 1


def test_another_search_and_the_same_one_later_are_asked(vast: Vast) -> None:
    vast.gives([row()]).offers()
    vast.gives([row()]).offers(Search(disk_gib=200))
    vast.now += timedelta(seconds=61)
    assert vast.gives([row()]).offer().prices_as_of == vast.now
    assert len(vast.asked) == 3


# Spot


def spot(**changes: Any) -> Search:
    return replace(Search(disk_gib=100, spot=True), **changes)


def spot_offer(vast: Vast, search: Search, **changes: Any) -> Offer | None:
    found = [offer for offer in vast.gives([row(**changes)], []).offers(search) if offer.interruptible]
    return found[0] if found else None


def test_without_spot_no_bid_is_asked_for(vast: Vast) -> None:
    assert not vast.gives([row()]).offer().interruptible
    assert [asked["type"] for asked in vast.asked] == ["on-demand"]


def test_with_spot_one_ask_is_both_a_spot_offer_and_another(vast: Vast) -> None:
    offers = vast.gives([row(5, 2.0, min_bid=1.0)], [row(5, 2.0)]).offers(spot())
    assert sorted((offer.offer_id, offer.interruptible, offer.price_parts["gpu"]) for offer in offers) == [
        ("vast-5-1xH100 SXM-m4711", False, 2.0),
        ("vast-spot-5-1xH100 SXM-m4711", True, pytest.approx(1.1)),
    ]
    assert [asked["type"] for asked in vast.asked] == ["bid", "on-demand"]


def test_all_pages_of_both_fit_into_what_is_let_through_at_once(vast: Vast) -> None:
    page = page_of(1, [1 + number / 100 for number in range(PAGE_ROWS)])
    vast.gives(*[page] * 4).offers(spot())
    assert len(vast.asked) == 4


def test_the_price_of_spot_is_the_bid_and_the_disk(vast: Vast) -> None:
    offer = spot_offer(vast, spot(), min_bid=1.0, storage_cost=0.15)
    assert offer is not None
    assert offer.price_parts == {"gpu": pytest.approx(1.1), "disk": pytest.approx(108 * 0.15 / DISK_HOURS)}
    assert offer.price_usd_per_hour == sum(offer.price_parts.values())


@pytest.mark.parametrize(
    ("search", "bid_usd"),
    [
        (spot(options={"bid_margin": 1.5}), 1.5),
        (spot(options={"bid_usd_per_hour": 1.05}), 1.05),
        (spot(options={"bid_usd_per_hour": 1.0}), 1.0),
        (spot(options={"bid_usd_per_hour": 1.2}), 1.1),
        (spot(options={"bid_usd_per_hour": 0.99}), None),
        (spot(max_price_usd_per_hour=1.0825), 1.06),
        (spot(max_price_usd_per_hour=1.02), None),
    ],
)
def test_a_bid_is_never_above_what_was_allowed_nor_below_what_wins(
    vast: Vast, search: Search, bid_usd: float | None
) -> None:
    offer = spot_offer(vast, search, min_bid=1.0, storage_cost=0.15)  # 0.0225 for 108 GB
    assert (offer.price_parts["gpu"] if offer else None) == (bid_usd and pytest.approx(bid_usd))


def test_a_bid_that_is_cut_to_the_limit_is_within_it_to_the_last_bit(vast: Vast) -> None:
    rows = [row(number, min_bid=1.0, storage_cost=1.7 + number / 50) for number in range(1, PAGE_ROWS)]
    found = vast.gives(rows, []).offers(spot(max_price_usd_per_hour=2.9, options={"bid_margin": 3}))
    assert len(found) == len(rows)
    assert max(offer.price_usd_per_hour for offer in found) <= 2.9


@pytest.mark.parametrize("min_bid", [None, 0, -1.0, float("nan")])
def test_without_a_lowest_bid_there_is_no_spot_offer(vast: Vast, min_bid: float | None) -> None:
    assert spot_offer(vast, spot(), min_bid=min_bid) is None


# Why there is nothing


def test_nothing_is_explained_with_what_was_looked_for() -> None:
    search = Search(
        cards=("H100",),
        disk_gib=100,
        min_cuda_version="13.0",
        ttl_s=86_400,
        max_price_usd_per_hour=2,
        options={"regions": ["SE", "NO"], "datacenter": True},
    )
    assert why_none(search) == (
        "Vast.ai has no H100 free in a verified data center in SE or NO with a reliability of 0.97, 500 Mbit/s down, "
        "108 GB of disk, a driver for CUDA 13.0, 26 hours left, a price of $2/h or less; "
        "providers: vast: in the recipe can ask for less"
    )


def test_nothing_at_all_is_explained_with_the_usual_bounds() -> None:
    assert why_none(Search(options={"verified": False})) == (
        "Vast.ai has no GPU that would do free on a host with a reliability of 0.97, 500 Mbit/s down, 8 GB of disk; "
        "providers: vast: in the recipe can ask for less"
    )


@pytest.mark.parametrize(
    ("search", "why"),
    [
        (Search(kind=Kind.VM), "Vast.ai rents out containers, no vm"),
        (Search(volume="weights"), "Vast.ai has no network volumes: leave vast out of the recipe's cache"),
        (Search(cards=("MI300X", "cpu")), "Vast.ai does not rent out MI300X or cpu"),
    ],
)
def test_what_vast_never_has_is_named(search: Search, why: str) -> None:
    assert why_none(search) == why


# The same ask, a moment later


def request_for(offer: Offer) -> LaunchRequest:
    return LaunchRequest(
        name="gpu-one",
        offer=offer,
        image="vllm/vllm-openai:v0.32.0",
        command=(),
        env={},
        secret_env={},
        port=8000,
        disk_gib=100,
        labels={},
        options={},
        min_cuda_version="12.9",
    )


def again(vast: Vast, offer: Offer, *rows: dict[str, Any]) -> tuple[int, float]:
    return fresh(vast.gives(list(rows)).client, request_for(offer), Options())


def test_an_ask_is_found_again_by_its_machine_under_its_new_number(vast: Vast) -> None:
    offer = vast.gives([row(1, 2.0)]).offer()
    assert again(vast, offer, row(2, 2.0)) == (2, pytest.approx(offer.price_usd_per_hour))
    asked = vast.asked[-1]
    assert (asked["machine_id"], asked["num_gpus"], asked["gpu_name"]) == (
        {"eq": 4711},
        {"eq": 1},
        {"in": ["H100 SXM"]},
    )
    assert (asked["cuda_max_good"], asked["disk_space"]) == ({"gte": 12.9}, {"gte": 108})
    assert asked["allocated_storage"] == 108


def test_the_cheapest_of_several_with_their_disk_is_taken(vast: Vast) -> None:
    offer = vast.gives([row(1, 2.0, storage_cost=0.15)]).offer()
    rows = [row(2, 1.99, storage_cost=0.3), row(3, 1.995, storage_cost=0.15), row(4, 2.0, storage_cost=0.15)]
    assert again(vast, offer, *rows)[0] == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"machine_id": 4712},
        {"num_gpus": 2},
        {"gpu_name": "H100 PCIE"},
        {"disk_space": 107},
        {"verification": "deverified"},
        {"rentable": False},
        {"cuda_max_good": 12.8},
    ],
    ids=str,
)
def test_another_machine_or_one_that_would_no_longer_do_is_not_taken(vast: Vast, changes: dict[str, Any]) -> None:
    offer = vast.gives([row(1, 2.0)]).offer()
    with pytest.raises(NoCapacity, match="4711 no longer offers 1 x H100 SXM"):
        again(vast, offer, row(2, 2.0, **changes))


def test_another_size_of_the_same_card_is_not_taken(vast: Vast) -> None:
    offer = vast.gives([row(1, gpu_name="A100 SXM4", gpu_ram=81920)]).offer()
    with pytest.raises(NoCapacity):
        again(vast, offer, row(2, gpu_name="A100 SXM4", gpu_ram=40960))


def test_up_to_a_hundredth_more_is_the_same_price_and_beyond_that_it_rose(vast: Vast) -> None:
    offer = vast.gives([row(1, 2.0)]).offer()
    assert again(vast, offer, row(2, 2.02))[0] == 2
    with pytest.raises(NoCapacity, match=r"its price rose from \$2.022/h to \$2.072/h"):
        again(vast, offer, row(2, 2.05))


def test_the_disk_of_an_offer_that_did_not_know_it_is_no_rise(vast: Vast) -> None:
    offer = vast.gives([row(1, 0.3, storage_cost=0.2)]).offer(Search())
    assert again(vast, offer, row(2, 0.3, storage_cost=0.2)) == (2, pytest.approx(0.3 + 108 * 0.2 / DISK_HOURS))


def test_a_spot_offer_is_found_again_as_spot_and_keeps_its_bid(vast: Vast) -> None:
    offer = spot_offer(vast, spot(), min_bid=1.0)
    assert offer is not None
    assert again(vast, offer, row(2, min_bid=1.09)) == (2, pytest.approx(offer.price_usd_per_hour))
    assert vast.asked[-1]["type"] == "bid"


def test_a_spot_offer_whose_lowest_bid_rose_above_ours_is_gone(vast: Vast) -> None:
    offer = spot_offer(vast, spot(), min_bid=1.0)
    assert offer is not None
    with pytest.raises(NoCapacity, match=r"its lowest bid rose from \$1.100/h to \$1.200/h"):
        again(vast, offer, row(2, min_bid=1.2))


# A whole market


@pytest.fixture
def market() -> Iterator[VastEmulator]:
    with VastEmulator(engine="none", stock={"RTX 4090": 40}) as cloud:
        yield cloud


def client_of(market: VastEmulator) -> VastClient:
    return VastClient(Secret(market.env["VAST_API_KEY"]), market.url, HTTP)


def offers_in(market: VastEmulator, folder: Path, search: Search) -> list[Offer]:
    return search_offers(client_of(market), SearchCache(folder), search, parse_options(search.options), NOW)


def test_all_of_a_card_is_found_though_one_answer_holds_no_more_than_64(market: VastEmulator, tmp_path: Path) -> None:
    everything = Search(cards=("RTX-4090",), options={"verified": False, "reliability": 0})
    found = {OfferId.parse(offer.offer_id).ask_id for offer in offers_in(market, tmp_path, everything)}
    of_the_card = [ask for ask in market.asks if ask.machine.gpu_name == "RTX 4090"]
    assert len(found) > PAGE_ROWS
    assert found == {ask.id for ask in of_the_card if ask.machine.ports}


def test_our_price_is_the_clouds_total_for_that_disk(market: VastEmulator, tmp_path: Path) -> None:
    offers = offers_in(market, tmp_path, Search(disk_gib=100, cards=("H100",)))
    asks = {ask.id: ask for ask in market.asks}
    assert offers
    for offer in offers:
        ask = asks[OfferId.parse(offer.offer_id).ask_id]
        assert offer.price_usd_per_hour == pytest.approx(ask.base_usd + ask.storage_usd(108))


def test_an_ask_with_a_new_number_is_found_again(market: VastEmulator, tmp_path: Path) -> None:
    offer = offers_in(market, tmp_path, Search(disk_gib=100, cards=("H200",)))[0]
    market.change_ids()
    ask_id, usd_per_hour = fresh(client_of(market), request_for(offer), Options())
    (now,) = [ask for ask in market.asks if ask.id == ask_id]
    was = OfferId.parse(offer.offer_id)
    assert (now.machine.id, now.gpus, now.machine.gpu_name) == (was.machine_id, was.gpu_count, was.gpu_name)
    assert now.id != was.ask_id
    assert usd_per_hour == pytest.approx(offer.price_usd_per_hour)


def test_rows_without_what_is_optional_are_offers_and_those_with_words_that_nobody_knows_are_none(
    market: VastEmulator, tmp_path: Path
) -> None:
    market.misbehave({"do": "missing-fields", "call": "offers", "times": 1})
    market.misbehave({"do": "unknown-enum", "call": "offers"})
    assert offers_in(market, tmp_path, Search(cards=("H100",)))
    assert offers_in(market, tmp_path, Search(cards=("H200",))) == []


@pytest.mark.parametrize(
    ("dropped", "bound"),
    [
        (["verified"], {}),
        (["gpu_name"], {}),
        (["duration"], {"ttl_s": 86_400}),
        (["disk_space"], {"disk_gib": 500}),
        (["cuda_max_good"], {"min_cuda_version": "13.0"}),
        (["gpu_total_ram"], {"min_gpu_memory_gib": 75}),
        (["reliability"], {"options": {"reliability": 0.995}}),
        (["inet_down"], {"options": {"min_inet_down_mbps": 1000}}),
        (["direct_port_count"], {"options": {"min_direct_ports": 30}}),
        (["datacenter"], {"options": {"datacenter": True}}),
        (["geolocation"], {"options": {"regions": ["US"]}}),
        (["verified", "geolocation"], {"options": {"regions": ["US", "TH"], "reliability": 0}}),
    ],
)
def test_a_filter_that_the_cloud_drops_without_a_word_lets_nothing_through(
    market: VastEmulator, tmp_path: Path, dropped: list[str], bound: dict[str, Any]
) -> None:
    search = replace(Search(disk_gib=20, cards=("H100", "L40S", "RTX-5090")), **bound)
    wanted = offers_in(market, tmp_path / "wanted", search)
    market.misbehave({"do": "filters-ignored", "fields": dropped})
    asked_before = len(market.requests)
    assert offers_in(market, tmp_path / "dropped", search) == wanted
    assert len(client_of(market).search(market.requests[asked_before].json())) > len(wanted) > 0


def test_a_cloud_that_drops_every_filter_lets_nothing_through(market: VastEmulator, tmp_path: Path) -> None:
    market.misbehave({"do": "filters-ignored"})
    assert offers_in(market, tmp_path / "one", Search(cards=("H100",))) == []
    found = offers_in(market, tmp_path / "all", Search(disk_gib=100))
    assert found
    asks = {ask.id: ask.machine for ask in market.asks}
    hosts = [asks[OfferId.parse(offer.offer_id).ask_id] for offer in found]
    assert all(host.verification == "verified" and host.ports and host.reliability >= 0.97 for host in hosts)


# What ranks them


def test_a_cheap_host_with_a_slow_dear_line_comes_behind_a_dearer_one_for_a_large_model(vast: Vast) -> None:
    slow = row(1, 1.90, inet_down=520.0, inet_down_cost=0.02, reliability=0.995)
    fast = row(2, 2.00, inet_down=3214.7, inet_down_cost=0.0026, reliability=0.995)
    cheap, dear = vast.gives([slow, fast]).offers(Search(disk_gib=120))
    weights_gib = 70 * 10**9 / 2**30
    assert cheap.price_usd_per_hour < dear.price_usd_per_hour

    def usd(offer: Offer, gib: float) -> float:
        return session_price(offer, USUAL_SESSION, weights_gib=gib).cost_usd

    assert usd(cheap, weights_gib) > usd(dear, weights_gib)
    assert usd(cheap, 1) - usd(dear, 1) < usd(cheap, weights_gib) - usd(dear, weights_gib)


# Whatever is answered

NUMBERS = st.one_of(st.none(), st.floats(-5, 5), st.floats(), st.integers(-3, 2000), st.sampled_from(["2.0", "x", ""]))
ANYTHING = st.one_of(NUMBERS, st.booleans(), st.just([]), st.just({}))
CHANGES = st.dictionaries(st.sampled_from(sorted(row())), ANYTHING, max_size=2)
SENSIBLE = st.fixed_dictionaries(
    {},
    optional={
        "gpu_name": st.sampled_from(["H100 SXM", "H100 NVL", "A100 SXM4", "RTX 4090"]),
        "gpu_ram": st.sampled_from([81559, 40960, 81920, 24564]),
        "num_gpus": st.sampled_from([1, 2, 3, 4, 8]),
        "reliability": st.floats(0.9, 1),
        "inet_down": st.floats(400, 1000),
        "disk_space": st.floats(90, 130),
        "cuda_max_good": st.sampled_from([12.4, 12.8, 13.0]),
        "duration": st.floats(80_000, 120_000),
        "verification": st.sampled_from(["verified", "unverified", "deverified"]),
        "geolocation": st.sampled_from(["Sweden, SE", ", US", "Quebec, CA", None]),
        "dph_base": st.floats(0.1, 3),
        "min_bid": st.floats(0.1, 3),
        "storage_cost": st.floats(0, 1),
        "direct_port_count": st.integers(0, 3),
    },
)
ROWS = st.lists(
    st.builds(lambda ask_id, sensible, wild: {**row(ask_id, **sensible), **wild}, st.integers(1, 5), SENSIBLE, CHANGES),
    max_size=4,
)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[Offer]]]:
    """What such rows come to for a search, never from memory."""
    with ScriptedServer() as server:
        vast = Vast(tmp_path_factory.mktemp("vast"), server)

        def offers(search: Search, *pages: Sequence[Mapping[str, Any]]) -> list[Offer]:
            vast.now += timedelta(minutes=2)
            return vast.gives(*pages).offers(search)

        yield offers


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_whatever_is_answered_no_offer_is_outside_of_any_bound(
    judge: Callable[..., list[Offer]], bids: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    search = replace(BOUNDED, spot=True, options={**BOUNDED.options, "bid_usd_per_hour": 1.5})
    offers = judge(search, bids, rows)
    for offer in offers:
        wanted = OfferId.parse(offer.offer_id)
        sources = [each for each in (bids if offer.interruptible else rows) if is_source(each, wanted)]
        assert offer.gpu in search.cards
        assert offer.gpu_count in (1, 2, 4, 8)
        assert 0 < offer.price_usd_per_hour <= 2.5
        assert offer.price_usd_per_hour == sum(offer.price_parts.values())
        assert any(keeps_all_bounds(source, offer) for source in sources)
    assert len({offer.offer_id for offer in offers}) == len(offers)
    asks = [(offer.interruptible, OfferId.parse(offer.offer_id).ask_id) for offer in offers]
    assert len(set(asks)) == len(asks)


def is_source(each: Mapping[str, Any], wanted: OfferId) -> bool:
    return amount(each["id"]) == wanted.ask_id and each["gpu_name"] == wanted.gpu_name


def keeps_all_bounds(each: Mapping[str, Any], offer: Offer) -> bool:
    """Said a second time, in other words."""
    at_least = {
        "reliability": 0.97,
        "inet_down": 500,
        "direct_port_count": 1,
        "disk_space": 108,
        "duration": 86_400 * 1.1,
        "cuda_max_good": 13.0,
        "compute_cap": 700,
        "gpu_total_ram": 75 * 1024,
        "hosting_type": 1,
    }
    gpu_usd = offer.price_parts["gpu"]
    bid_or_base = "min_bid" if offer.interruptible else "dph_base"
    return (
        all(amount(each[name]) >= least for name, least in at_least.items())
        and (each["verification"], each["cpu_arch"], each["gpu_arch"]) == ("verified", "amd64", "nvidia")
        and str(each["geolocation"]).endswith(("SE", "US"))
        and bool(each["rentable"])
        and not each["rented"]
        and not each["external"]
        and amount(each[bid_or_base]) <= gpu_usd
        and (gpu_usd <= 1.5 if offer.interruptible else gpu_usd == amount(each["dph_base"]))
    )


def amount(value: object) -> float:
    """Below everything where it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("-inf")
