"""`gpu up` at Vast.ai: what is ordered, in which order, and what becomes of orders that go wrong."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from driver import Gpu, wait_until
from emulators.vast import VastEmulator
from rented import point_at
from rented_at_vast import created, destroyed, living, machines, made, searches, up

Rentable = Callable[..., str]
BY_PRICE = ["15002", "15003", "15005"]
"""The machines with an H100 that a careful person would rent."""


@pytest.fixture(scope="module")
def engine() -> str:
    """Nothing has to run in what is ordered here."""
    return "none"


def test_a_name_is_on_record_before_the_cloud_hears_of_it_and_a_lost_answer_is_looked_up_by_it(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "timeout", "call": "create", "when": "after", "seconds": 1, "times": 1})
    run = gpu.start("up", rentable("H100"), "--provider", "vast", "--no-wait", "--json")
    wait_until(lambda: created(vast))
    with closing(sqlite3.connect(gpu.home / "state" / "gpu.db")) as connection:
        recorded = connection.execute("SELECT resource_name, state FROM deployments").fetchall()
    assert recorded == [(created(vast)[0]["label"], "launching")]
    launched = run.result()
    assert launched.exit == 0, launched.stderr
    assert living(vast) == [launched.json["resource_id"]]
    assert len(created(vast)) == 1


def test_a_create_that_failed_although_it_worked_is_adopted_and_not_repeated(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "server-error", "call": "create", "when": "after"}, {"do": "unseen", "seconds": 0.6})
    launched = up(gpu, rentable("H100"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert (living(vast), len(created(vast))) == ([launched.json["resource_id"]], 1)


def test_what_failed_creates_have_made_is_ended_and_the_next_offer_is_taken(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave(*({"do": "bid-too-low", "status": status, "times": 1} for status in (200, 400)))
    launched = up(gpu, rentable("H100"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    first, second, third = made(vast)
    assert destroyed(vast) == [str(first.id), str(second.id)]
    assert living(vast) == [str(third.id)] == [launched.json["resource_id"]]


def test_offers_that_are_gone_are_passed_over_however_that_is_said(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave(*({"do": "no-capacity", "status": status, "times": 2} for status in (400, 404, 410)))
    launched = up(gpu, rentable("H100"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert [one["message"] for one in launched.json["tried"]][:-1] == ["this offer is gone at Vast.ai"] * 3
    assert len(created(vast)) == 3 * 2 + 1
    assert living(vast) == [launched.json["resource_id"]]


def test_an_ask_that_has_another_number_by_now_is_found_by_its_machine_at_its_price(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "ids-change", "times": 1})
    launched = up(gpu, rentable("H100"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert machines(vast) == BY_PRICE[:1]
    assert searches(vast)[-1]["machine_id"] == {"eq": int(BY_PRICE[0])}
    (instance,) = made(vast)
    assert launched.json["price_usd_per_hour"] == pytest.approx(instance.terms.base_usd + instance.terms.disk_usd)


def test_when_everything_is_sold_out_the_exit_is_5_and_nothing_is_left(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "no-capacity"})
    refused = up(gpu, rentable("RTX-5090"), "--no-wait")
    assert (refused.exit, refused.error["code"], refused.error["still_billing"]) == (5, "not-launched", [])
    assert living(vast) == made(vast) == []
    assert {one["state"] for one in gpu.ls()} == {"failed"}


@pytest.mark.parametrize(("what", "status"), [("no-funds", 4), ("spend-limit", 5)])
def test_what_the_account_may_not_spend_ends_it_and_no_other_offer_is_tried(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable, what: str, status: int
) -> None:
    vast.misbehave({"do": what})
    refused = up(gpu, rentable("H100"))
    assert (refused.exit, refused.error["still_billing"]) == (status, [])
    assert ("https://cloud.vast.ai/billing/" in refused.error["hint"]) == (what == "no-funds")
    assert (len(created(vast)), living(vast)) == (1, [])


def test_a_cloud_that_is_busy_is_asked_again_when_it_says_so(gpu: Gpu, vast: VastEmulator, rentable: Rentable) -> None:
    vast.misbehave(*({"do": "rate-limit", "call": call, "retry_after": 1, "times": 1} for call in ("offers", "create")))
    launched = up(gpu, rentable("H100"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert (len(searches(vast)), len({body["label"] for body in created(vast)})) == (2, 1)
    assert living(vast) == [launched.json["resource_id"]]


def test_only_spot_names_a_price_and_that_is_the_bid(gpu: Gpu, vast: VastEmulator, rentable: Rentable) -> None:
    launched = up(gpu, rentable("H100"), "--spot", "--no-wait")
    assert launched.exit == 0, launched.stderr
    (body,), (instance,) = created(vast), made(vast)
    assert body["price"] == pytest.approx(instance.terms.ask.min_bid_usd * 1.1)
    assert launched.json["price_usd_per_hour"] == pytest.approx(body["price"] + instance.terms.disk_usd)


def test_of_more_offers_than_one_answer_holds_the_cheapest_that_fits_is_taken(
    gpu: Gpu, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VastEmulator(stock={"H100 SXM": 40}) as cloud:
        point_at(cloud, monkeypatch)
        launched = up(gpu, rentable(gpu={"names": ["H100"], "count": 8}), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert len(searches(cloud)) > 1
    assert all("gte" in query["dph_total"] for query in searches(cloud)[1:])
    assert (launched.json["gpu_count"], machines(cloud)) == (8, BY_PRICE[:1])
