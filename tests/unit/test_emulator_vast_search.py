"""Searches of Vast.ai's emulator behave as Vast.ai's have been seen or documented to; each test names one such fact."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from emulated_vast import BY_PRICE, H100, RTX_4090, Caller
from emulators.openapi import Conformance
from emulators.server import Request, json_response
from emulators.vast import VastEmulator
from emulators.vast.asks import Ask
from emulators.vast.asks import row as offered
from emulators.vast.machines import MACHINES
from emulators.vast.row_schema import ROW as ROW_SCHEMA
from emulators.vast.search import MOST_ROWS
from emulators.vast.specification import VAST
from jsonschema import Draft202012Validator

ROW = offered(Ask(1, MACHINES[0], 1), now=0.0)


@pytest.fixture(scope="module")
def market() -> Iterator[Caller]:
    """Someone who only looks."""
    with VastEmulator(boot_s=0) as cloud:
        yield Caller(cloud)


@pytest.fixture
def call() -> Iterator[Caller]:
    with VastEmulator(boot_s=0) as cloud:
        yield Caller(cloud)


@pytest.fixture(scope="module")
def everything(market: Caller) -> list[dict[str, Any]]:
    """All that is for sale, card by card."""
    return [row for name in {machine.gpu_name for machine in MACHINES} for row in market.search(gpu_name={"eq": name})]


def test_there_are_some_forty_machines_with_more_than_a_hundred_offers(everything: list[dict[str, Any]]) -> None:
    assert len({row["machine_id"] for row in everything}) == len(MACHINES) >= 40
    assert len(everything) >= 120
    assert len({row["id"] for row in everything}) == len(everything)


@pytest.mark.parametrize(
    "unlike_the_others",
    [
        {"verification": "unverified"},
        {"verification": "deverified"},
        {"direct_port_count": 0},
        {"cpu_arch": "arm64"},
        {"gpu_arch": "amd"},
        {"gpu_name": "A100 SXM4", "gpu_ram": 40960},
        {"gpu_name": "A100 SXM4", "gpu_ram": 81920},
        {"gpu_name": "B300"},
        {"geolocation": None},
        {"geolocation": ", US"},
        {"cpu_cores": None},
        {"cuda_max_good": None},
        {"inet_down_cost": 0.034},
    ],
)
def test_the_catalogue_has_what_a_client_has_to_look_out_for(
    everything: list[dict[str, Any]], unlike_the_others: dict[str, Any]
) -> None:
    assert [row for row in everything if unlike_the_others.items() <= row.items()]


def test_a_search_filters_nothing_by_itself(market: Caller) -> None:
    assert {row["verification"] for row in market.search(gpu_name={"eq": H100})} == {"verified", "unverified"}


def test_a_search_needs_no_key_but_minds_a_wrong_one(market: Caller) -> None:
    assert Caller(market.cloud, None).search(gpu_name={"eq": H100})
    wrong = Caller(market.cloud, "wrong")("POST", "/v0/bundles/", {})
    assert (wrong.status_code, wrong.json()["error"], wrong.json()["msg"]) == (404, "auth_error", "Invalid user key")


def test_all_three_ways_to_search_find_the_same(market: Caller) -> None:
    query = {"gpu_name": {"in": [H100, "H200"]}, "order": BY_PRICE}
    by_get = market("GET", "/v0/bundles/", params={"q": json.dumps(query)}).json()["offers"]
    by_put = market("PUT", "/v0/search/asks/", {"select_cols": ["*"], "q": query}).json()["offers"]
    ids = [row["id"] for row in market.search(**query)]
    assert ids == [row["id"] for row in by_get] == [row["id"] for row in by_put]


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        ({"num_gpus": {"eq": 2}}, lambda row: row["num_gpus"] == 2),
        ({"num_gpus": {"neq": 2}}, lambda row: row["num_gpus"] != 2),
        ({"dph_total": {"lt": 1}}, lambda row: row["dph_total"] < 1),
        ({"dph_total": {"gt": 1, "lte": 5}}, lambda row: 1 < row["dph_total"] <= 5),
        ({"gpu_total_ram": {"gte": 160_000}}, lambda row: row["gpu_total_ram"] >= 160_000),
        ({"gpu_ram_GB": {"gte": 80}}, lambda row: row["gpu_ram"] >= 80_000),
        ({"gpu_name": {"in": [H100], "notin": ["L4"]}}, lambda row: row["gpu_name"] == H100),
        ({"verified": {"eq": True}}, lambda row: row["verification"] == "verified"),
        ({"verified": {"eq": False}}, lambda row: row["verification"] != "verified"),
        ({"datacenter": {"eq": True}}, lambda row: row["hosting_type"] == 1),
        ({"geolocation": {"in": ["US", "FR"]}}, lambda row: (row["geolocation"] or "")[-2:] in ("US", "FR")),
        ({"reliability2": {"gte": 0.99}}, lambda row: row["reliability"] >= 0.99),
        ({"driver_version": {"gte": "580.105.08"}}, lambda row: row["driver_vers"] >= 580105008),
        ({"duration": {"gte": 864_000}}, lambda row: row["duration"] >= 864_000),
        ({"cuda_max_good": {"gte": 12.8}}, lambda row: (row["cuda_max_good"] or 0) >= 12.8),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_filter_keeps_exactly_what_it_says(market: Caller, filters: dict[str, Any], holds: Any) -> None:
    some = {"gpu_name": {"in": [H100, RTX_4090, "RTX 5090", "RTX 3090", "InstinctMI210"]}}
    candidates = market.search(**some)
    found = market.search(**some | filters)
    assert [row["id"] for row in found] == [row["id"] for row in candidates if holds(row)]
    assert 0 < len(found) < len(candidates) < MOST_ROWS


def test_what_is_null_is_not_true(market: Caller) -> None:
    query = {"gpu_name": {"eq": H100}}
    is_free = {"rentable": {"eq": True}, "rented": {"eq": False}, "external": {"eq": False}}
    assert [row["id"] for row in market.search(**query, **is_free)] == [row["id"] for row in market.search(**query)]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"gpu_name": H100}, "gpu_name: Input should be a valid dictionary"),
        ({"verified": True}, "verified: Input should be a valid dictionary"),
        ({"limit": {"eq": 5}}, "limit: "),
        ({"num_gpus": {"between": [1, 2]}}, "between is not a valid operator"),
        ({"gpus": {"eq": 1}}, "gpus is not a valid search key"),
        ({"num_gpus": {"gte": "many"}}, "Invalid filter"),
        ({"type": "cheap"}, "type: "),
        ({"order": "dph_total"}, "order: "),
        ({"order": [["price", "asc"]]}, "price is not a valid search key"),
    ],
)
def test_a_query_that_means_nothing_is_refused(market: Caller, query: dict[str, Any], complaint: str) -> None:
    refused = market("POST", "/v0/bundles/", query)
    assert (refused.status_code, refused.json()["error"]) == (400, "bad_request")
    assert complaint in refused.json()["msg"]


def test_names_of_cards_have_spaces_and_nothing_else_matches(market: Caller) -> None:
    assert market.search(gpu_name={"eq": "H100_SXM"}) == []


@pytest.mark.parametrize("limit", [{}, {"limit": 3000}])
def test_there_are_64_rows_whatever_the_limit_and_the_rest_is_above_the_last_price(limit: dict[str, int]) -> None:
    with VastEmulator(stock={RTX_4090: 60}) as cloud:
        query = {"gpu_name": {"eq": RTX_4090}, "order": BY_PRICE, **limit}
        page = Caller(cloud).search(**query)
        assert len(page) == MOST_ROWS
        rows = list(page)
        while len(page) == MOST_ROWS:
            page = Caller(cloud).search(**query, dph_total={"gte": rows[-1]["dph_total"]})
            known = {row["id"] for row in rows}
            rows += [row for row in page if row["id"] not in known]
    assert len({row["machine_id"] for row in rows}) == 60
    assert [row["dph_total"] for row in rows] == sorted(row["dph_total"] for row in rows)


def test_a_card_that_is_out_of_stock_is_not_found() -> None:
    with VastEmulator(stock={H100: 0}) as cloud:
        assert Caller(cloud).search(gpu_name={"eq": H100}) == []


def test_the_limit_counts_below_64(market: Caller) -> None:
    assert len(market.search(gpu_name={"eq": H100}, limit=3)) == 3


def test_without_an_order_the_best_score_comes_first(market: Caller) -> None:
    scores = [row["score"] for row in market.search(gpu_name={"in": [H100, "L4"]})]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("storage_gb", [None, 100, 1000.5])
def test_the_total_is_the_cards_and_the_disk_that_was_asked_for(market: Caller, storage_gb: float | None) -> None:
    asked = {} if storage_gb is None else {"allocated_storage": storage_gb}
    for row in market.search(gpu_name={"eq": H100}, **asked):
        disk_usd = row["storage_cost"] * (storage_gb or 8) / 720
        assert row["dph_total"] == pytest.approx(row["dph_base"] + disk_usd)
        assert row["search"]["totalHour"] == row["dph_total"]
        assert row["dph_total_adj"] == pytest.approx(row["dph_total"] + 2 * row["inet_down_cost"])


def test_bids_begin_at_the_least_one_and_its_disk(market: Caller) -> None:
    for row in market.search(gpu_name={"eq": H100}, type="bid", allocated_storage=72):
        assert row["is_bid"]
        assert row["dph_total"] == pytest.approx(row["min_bid"] + row["storage_cost"] / 10)


def test_one_machine_is_several_offers_that_share_its_means(market: Caller) -> None:
    rows = market.search(machine_id={"eq": 15301}, order=[["num_gpus", "asc"]])
    assert [row["num_gpus"] for row in rows] == [1, 2, 4, 8]
    assert [row["gpu_frac"] for row in rows] == [0.125, 0.25, 0.5, 1.0]
    for name in ("gpu_total_ram", "min_bid", "disk_space", "cpu_ram", "cpu_cores_effective"):
        assert rows[3][name] == pytest.approx(8 * rows[0][name], rel=1e-3)


def test_an_offer_is_found_by_its_ask_and_not_by_its_id(market: Caller) -> None:
    ask = market.offer()["id"]
    assert [row["id"] for row in market.search(ask_contract_id={"eq": ask})] == [ask]
    assert market.search(id={"eq": ask}) == []


def test_ids_change_when_they_are_told_to(call: Caller) -> None:
    before = call.offer()
    call.cloud.change_ids()
    after = call.offer()
    assert before["machine_id"] == after["machine_id"]
    assert before["id"] != after["id"]
    assert call.rent(before["id"]).status_code == 404
    assert call.rent(after["id"]).status_code == 200


def test_the_quota_of_a_day_ends_at_midnight_utc(call: Caller) -> None:
    call.cloud.misbehave({"do": "search-quota"})
    refused = call("POST", "/v0/bundles/", {})
    assert (refused.status_code, refused.json()["error"]) == (429, "search_quota_exceeded")
    reset = int(refused.headers["X-RateLimit-Reset"])
    assert reset % 86_400 == 0
    assert 0 < reset - time.time() <= 86_400


def test_the_quota_ends_when_it_is_told_to(call: Caller) -> None:
    call.cloud.misbehave({"do": "search-quota", "times": 1, "seconds": 5})
    refused = call("GET", "/v0/bundles/")
    assert int(refused.headers["X-RateLimit-Reset"]) == pytest.approx(time.time() + 5, abs=1.5)
    assert call.search(gpu_name={"eq": H100})


def test_filters_may_be_dropped_without_a_word(call: Caller) -> None:
    query = {"gpu_name": {"eq": H100}, "num_gpus": {"eq": 1}, "order": BY_PRICE}
    call.cloud.misbehave({"do": "filters-ignored", "fields": ["gpu_name"], "times": 1}, {"do": "filters-ignored"})
    some, all_ = call.search(**query), call.search(**query)
    assert {row["num_gpus"] for row in some} == {1} != {row["num_gpus"] for row in all_}
    assert len({row["gpu_name"] for row in some}) > 1
    assert [row["dph_total"] for row in all_] == sorted(row["dph_total"] for row in all_)
    assert "valid dictionary" in call("POST", "/v0/bundles/", {"gpu_name": H100}).json()["msg"]


def test_a_broken_body_is_refused(market: Caller) -> None:
    refused = httpx.post(f"{market.cloud.url}/api/v0/bundles/", content=b"{")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


# What is checked against the cloud's own file


def test_every_row_has_the_names_and_types_of_the_files_example(everything: list[dict[str, Any]]) -> None:
    check = Draft202012Validator(ROW_SCHEMA)
    assert [error.message for row in everything for error in check.iter_errors(row)] == []


@pytest.mark.parametrize(
    ("query", "status", "answer", "violation"),
    [
        ({"order": ["dph_total"]}, 200, {"offers": []}, r"\$\.order"),
        ({"type": "cheap"}, 200, {"offers": []}, r"\$\.type"),
        ({"num_gpus": 1}, 200, {"offers": []}, r"\$\.num_gpus"),
        ({}, 200, {"offers": {}}, r"\$\.offers"),
        ({}, 200, {"offers": [{**ROW, "dph_total": "0.4"}]}, r"\$\.offers\[0\]\.dph_total"),
        ({}, 200, {"offers": [{**ROW, "verified": True}]}, "'verified' was unexpected"),
        ({}, 200, {"offers": [{name: ROW[name] for name in ROW if name != "min_bid"}]}, "'min_bid' is a required"),
        ({}, 201, {"offers": []}, "201"),
        ({}, 429, {"detail": "too frequent"}, "'error' is a required"),
    ],
)
@pytest.mark.skipif(bool(Conformance(VAST).skipped), reason=Conformance(VAST).skipped or "checked")
def test_what_the_clouds_own_file_does_not_allow_is_found(
    query: object, status: int, answer: Any, violation: str
) -> None:
    conformance = Conformance(VAST)
    sent = Request("POST", "/api/v0/bundles/", {}, {"content-type": "application/json"}, json.dumps(query).encode())
    conformance.check(sent, json_response(answer, status))
    with pytest.raises(AssertionError, match=f"POST /api/v0/bundles/ .*{violation}"):
        conformance.complain()
