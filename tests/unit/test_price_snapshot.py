from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.planner.offers.plausible_prices import why_implausible
from gpu_providers.base import Kind, Offer, Search
from gpu_providers.gpus import GPUS
from gpu_providers.modal_cloud.offers import offers as modal_offers
from gpu_providers.modal_cloud.options import Options
from gpu_providers.modal_cloud.rates import LISTED
from gpu_providers.offer_document import offers_document, offers_from_document
from gpu_providers.price_snapshot import SNAPSHOT_DATE, snapshot_offers


def test_every_cloud_is_in_it() -> None:
    kinds = {(offer.provider, offer.kind) for offer in snapshot_offers()}
    assert kinds >= {("runpod", Kind.POD), ("vast", Kind.POD), ("lambda", Kind.VM), ("modal", Kind.SERVERLESS)}


def test_every_offer_is_a_known_card_at_a_price_that_adds_up() -> None:
    for offer in snapshot_offers():
        assert offer.gpu in GPUS
        assert offer.gpu_count > 0
        assert offer.price_usd_per_hour > 0
        assert sum(offer.price_parts.values()) == pytest.approx(offer.price_usd_per_hour)


def test_every_offer_has_an_id_of_its_own() -> None:
    ids = [offer.offer_id for offer in snapshot_offers()]
    assert len(set(ids)) == len(ids)


def test_every_price_is_dated_and_the_snapshot_has_the_date_of_the_newest() -> None:
    days = [offer.prices_as_of.date() for offer in snapshot_offers()]
    assert max(days) == SNAPSHOT_DATE
    assert min(days) >= date(2026, 1, 1)


def test_every_price_is_what_such_a_card_can_cost() -> None:
    assert [offer.offer_id for offer in snapshot_offers() if why_implausible(offer)] == []


def test_prices_that_people_know_are_in_it() -> None:
    prices = {offer.offer_id: offer.price_usd_per_hour for offer in snapshot_offers()}
    assert prices["runpod-secure-1xH100"] == 3.49
    assert prices["lambda-on-demand-8xH100"] == 31.92
    assert prices["modal-1xH100"] == pytest.approx(3.95 + 4 * 0.0473 + 32 * 0.008)


def test_modals_offers_are_those_that_modal_would_make_at_its_list_price() -> None:
    sold = modal_offers(Search(), Options(), LISTED)
    assert [offer for offer in snapshot_offers() if offer.provider == "modal"] == sold


def test_what_may_be_taken_back_says_so() -> None:
    spot = [offer for offer in snapshot_offers() if offer.interruptible]
    assert {offer.provider for offer in spot} == {"vast"}


def test_saved_offers_come_back_as_they_were() -> None:
    assert offers_from_document(offers_document(snapshot_offers())) == snapshot_offers()


NUMBERS = st.floats(0, 1e6) | st.integers(0, 10**6)
OFFERS = st.builds(
    Offer,
    provider=st.text(),
    kind=st.sampled_from(Kind),
    architecture=st.sampled_from(["x86_64", "arm64"]),
    offer_id=st.text(),
    gpu=st.text(),
    gpu_count=st.integers(0, 64),
    gpu_memory_gib=NUMBERS,
    region=st.text(),
    price_usd_per_hour=NUMBERS,
    price_parts=st.dictionaries(st.text(), NUMBERS),
    prices_as_of=st.datetimes(timezones=st.just(UTC)),
    interruptible=st.booleans(),
    bandwidth_mb_per_s=st.none() | st.floats(0.1, 1e5),
    boot_odds=st.none() | st.floats(0.01, 1),
    disk_usd_per_gib_hour=NUMBERS,
    traffic_usd_per_gib=NUMBERS,
)


@given(st.lists(OFFERS))
def test_any_offers_come_back_as_they_were_through_json(offers: list[Offer]) -> None:
    import json

    document = json.loads(json.dumps(offers_document(offers)))
    assert offers_from_document(document) == tuple(offers)


ONE = Offer("a", Kind.POD, "b", "H100", 1, 80, "c", 2.5, {"gpu": 2.5}, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"price_usd_per_hour": "cheap"}, "offers[0].price_usd_per_hour: must be a number, zero or more, not 'cheap'"),
        ({"price_usd_per_hour": -1}, "offers[0].price_usd_per_hour: must be a number, zero or more, not -1"),
        ({"price_usd_per_hour": float("nan")}, "offers[0].price_usd_per_hour: must be a number, zero or more, not nan"),
        ({"gpu_count": True}, "offers[0].gpu_count: must be a whole number, zero or more, not True"),
        ({"kind": "ship"}, "offers[0].kind: must be one of pod, vm, serverless, process, not 'ship'"),
        ({"prices_as_of": "yesterday"}, "offers[0].prices_as_of: must be a time as in ISO 8601, not 'yesterday'"),
        ({"prices_as_of": "2026-01-01"}, "offers[0].prices_as_of: must be a time with its zone, not '2026-01-01'"),
        ({"boot_odds": 2}, "offers[0].boot_odds: must be at most 1, not 2"),
        ({"bandwidth_mb_per_s": 0}, "offers[0].bandwidth_mb_per_s: must be above zero, or null, not 0"),
        ({"price_parts": [1]}, "offers[0].price_parts: must be USD per hour by part, not [1]"),
        ({"colour": "red"}, "offers[0].colour: is not known"),
    ],
)
def test_a_damaged_file_of_offers_is_refused_with_the_field_named(change: dict[str, object], says: str) -> None:
    document = offers_document([ONE])
    document["offers"] = [{**document["offers"][0], **change}]  # type: ignore[index]  # its own list
    with pytest.raises(ValueError) as error:
        offers_from_document(document)
    assert str(error.value) == says


@pytest.mark.parametrize("document", [None, [], {}, {"offers": 3}, {"version": 2, "offers": []}, {"offers": [1]}])
def test_what_is_no_file_of_offers_is_refused(document: object) -> None:
    with pytest.raises(ValueError):
        offers_from_document(document)


def test_a_file_of_before_there_were_other_processors_is_read_as_it_was_meant() -> None:
    document = offers_document([ONE])
    del document["offers"][0]["architecture"]  # type: ignore[index]  # its own list
    assert offers_from_document(document) == (ONE,)


def test_a_missing_field_is_named() -> None:
    document = offers_document([ONE])
    del document["offers"][0]["gpu"]  # type: ignore[index]  # its own list
    with pytest.raises(ValueError, match=r"offers\[0\].gpu: is missing"):
        offers_from_document(document)
