"""How Vast.ai's emulator makes instances, as Vast.ai has been seen or documented to; each test names one such fact."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from emulated_runpod import until
from emulated_vast import H100, Caller
from emulators.vast import VastEmulator


@pytest.fixture
def call() -> Iterator[Caller]:
    with VastEmulator(boot_s=0) as cloud:
        yield Caller(cloud)


def usd_per_hour(call: Caller) -> float:
    """What the account is billed now."""
    call.cloud.bill()
    with call.cloud.lock:
        return call.cloud.billing.usd_per_hour()


# Bodies


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"image": None}, "'image' is required"),
        ({"image": "x" * 1025}, "'image' is not valid"),
        ({"disk": 7.9}, "'disk' is not valid"),
        ({"disk": "20"}, "'disk' is not valid"),
        ({"label": "x" * 257}, "'label' is not valid"),
        ({"runtype": "direct"}, "'runtype' is not valid"),
        ({"args": "-c true"}, "'args' is not valid"),
        ({"args": ["-c", "x" * 4096]}, "longer than 4096"),
        ({"onstart": "x" * 4090, "args": ["x" * 10]}, "longer than 4096"),
        ({"cancel_unavail": "yes"}, "'cancel_unavail' is not valid"),
        ({"target_state": "started"}, "'target_state' is not valid"),
        ({"env": "-p 8000:8000 -e A=1"}, "invalid env type"),
        ({"env": {"A": 1}}, "invalid env 'A'"),
        ({"env": {"8000:8000": "1"}}, "invalid env '8000:8000'"),
        ({"env": {"-x 1": "1"}}, "invalid env '-x 1'"),
        ({"env": {"A": "x" * 256}}, "env 'A' is longer than 256"),
        ({"env": {f"A{number:03}": "x" * 250 for number in range(130)}}, "env is longer than 32768"),
        ({"env": {f"-p {port}:{port}": "1" for port in range(8000, 8065)}}, "more than 64 ports"),
    ],
)
def test_a_body_that_cannot_be_is_refused(call: Caller, more: dict[str, Any], complaint: str) -> None:
    refused = call.rent(**more)
    assert (refused.status_code, refused.json()["success"], refused.json()["error"]) == (400, False, "invalid_args")
    assert complaint in refused.json()["msg"]
    assert call.listed() == []


@pytest.mark.parametrize("price", [0, 0.0001, 129, "1"])
def test_a_price_out_of_bounds_has_an_error_of_its_own(call: Caller, price: object) -> None:
    assert call.rent(price=price).json()["error"] == "invalid_price"


def test_the_largest_body_is_accepted(call: Caller) -> None:
    env = {f"A{number:03}": "x" * 252 for number in range(127)} | {"-p 8000:8000/tcp": "1", "-h name": "1"}
    assert call.rented(image="x" * 1024, label="x" * 256, onstart="x" * 2000, args=["y" * 2095], env=env)


def test_a_body_that_is_no_object_is_refused(call: Caller) -> None:
    ask, headers = call.offer()["id"], call.headers
    refused = httpx.put(f"{call.cloud.url}/api/v0/asks/{ask}/", content=b"[]", headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_args")


# Asks


def test_one_id_makes_one_instance_and_the_rest_of_the_machine_has_other_ids(call: Caller) -> None:
    machine = call.search(machine_id={"eq": 15101})
    four = next(row for row in machine if row["num_gpus"] == 4)
    call.rented(four["id"])
    assert call.rent(four["id"]).status_code == 404
    left = call.search(machine_id={"eq": 15101})
    assert {row["num_gpus"] for row in left} == {1, 2, 4}
    assert not {row["id"] for row in left} & {row["id"] for row in machine}


def test_what_was_rented_is_for_sale_again_when_it_is_gone(call: Caller) -> None:
    whole = call.offer(H100, num_gpus={"eq": 8})
    id_ = call.rented(whole["id"])
    assert call.search(machine_id={"eq": whole["machine_id"]}) == []
    call.destroy(id_)
    assert len(call.search(machine_id={"eq": whole["machine_id"]})) == 4


@pytest.mark.parametrize(
    ("status", "answered", "error"),
    [(None, 410, "no_such_ask"), (410, 410, "no_such_ask"), (404, 404, "invalid_args"), (400, 400, "invalid_args")],
)
def test_an_ask_that_is_gone_is_refused_in_three_ways(
    call: Caller, status: int | None, answered: int, error: str
) -> None:
    call.cloud.misbehave({"do": "no-capacity", "gpu": "4090", **({"status": status} if status else {})})
    ask = call.offer()["id"]
    refused = call.rent(ask)
    assert (refused.status_code, refused.json()["error"], refused.json()["ask_id"]) == (answered, error, ask)
    assert "no_such_ask" in refused.json()["msg"]
    assert call.rent(call.offer(H100)["id"]).status_code == 200


def test_ids_may_change_between_the_search_and_the_create(call: Caller) -> None:
    call.cloud.misbehave({"do": "ids-change", "times": 1})
    ask = call.offer()
    assert "no_such_ask" in call.rent(ask["id"]).json()["msg"]
    again = call.offer()
    assert (again["machine_id"], again["id"] != ask["id"]) == (ask["machine_id"], True)
    assert call.rented(again["id"])


def test_what_cannot_start_is_a_stopped_instance_that_bills_its_disk_unless_it_is_to_be_cancelled(call: Caller) -> None:
    call.cloud.misbehave({"do": "no-capacity"})
    offer = call.offer()
    id_ = call.rented(offer["id"], cancel_unavail=False, disk=72)
    instance = call.instance(id_)
    assert (instance["intended_status"], instance["actual_status"]) == ("stopped", "exited")
    assert usd_per_hour(call) == pytest.approx(offer["storage_cost"] / 10)


@pytest.mark.parametrize(("price", "made"), [(None, 0), (0.3, 1)])
def test_by_default_only_a_bid_waits_for_what_is_unavailable(call: Caller, price: float | None, made: int) -> None:
    call.cloud.misbehave({"do": "no-capacity"})
    call.rent(cancel_unavail=None, price=price)
    assert len(call.listed()) == made


# Prices


def test_without_a_price_it_costs_what_the_offer_says(call: Caller) -> None:
    offer = call.offer(H100, num_gpus={"eq": 2})
    id_ = call.rented(offer["id"], disk=100)
    instance = call.instance(id_)
    disk_usd = offer["storage_cost"] * 100 / 720
    assert (instance["is_bid"], instance["disk_space"]) == (False, 100)
    assert instance["dph_total"] == pytest.approx(offer["dph_base"] + disk_usd)
    until(lambda: usd_per_hour(call) == pytest.approx(instance["dph_total"]))


def test_with_a_price_it_is_a_bid_whatever_was_searched_for(call: Caller) -> None:
    offer = call.offer()
    instance = call.instance(call.rented(offer["id"], price=offer["min_bid"] + 0.01, disk=72))
    assert instance["is_bid"]
    assert instance["dph_total"] == pytest.approx(offer["min_bid"] + 0.01 + offer["storage_cost"] / 10)


def test_a_bid_that_is_too_low_leaves_a_stopped_instance_that_bills(call: Caller) -> None:
    offer = call.offer()
    refused = call.rent(offer["id"], price=offer["min_bid"] / 2)
    assert (refused.status_code, refused.json()["success"]) == (200, False)
    left = call.instance(refused.json()["new_contract"])
    assert (left["intended_status"], left["cur_state"]) == ("stopped", "stopped")
    assert usd_per_hour(call) > 0


def test_a_refusal_with_a_contract_may_have_an_errors_status(call: Caller) -> None:
    call.cloud.misbehave({"do": "bid-too-low", "status": 400})
    refused = call.rent()
    assert (refused.status_code, refused.json()["success"]) == (400, False)
    assert call.listed() == [refused.json()["new_contract"]]


def test_a_disk_that_is_too_large_is_clipped_and_the_rest_is_rounded_up(call: Caller) -> None:
    offer = call.offer()
    assert call.instance(call.rented(offer["id"], disk=100_000))["disk_space"] == offer["disk_space"]
    assert call.instance(call.rented(disk=20.2))["disk_space"] == 21


def test_a_disk_may_be_clipped_for_no_reason(call: Caller) -> None:
    call.cloud.misbehave({"do": "clipped-disk"})
    assert call.instance(call.rented(disk=40))["disk_space"] == 20


def test_without_credit_nothing_is_rented() -> None:
    with VastEmulator(balance_usd=0) as cloud:
        refused = Caller(cloud).rent()
    assert (refused.status_code, refused.json()["error"]) == (400, "insufficient_credit")
    assert "lacks credit" in refused.json()["msg"]


@pytest.mark.parametrize(
    ("rule", "status", "error"),
    [
        ({"do": "no-funds"}, 400, "insufficient_credit"),
        ({"do": "no-funds", "status": 402}, 402, "insufficient_credit"),
        ({"do": "spend-limit"}, 400, "spend_rate_limit"),
    ],
)
def test_an_account_that_may_not_spend_is_refused(call: Caller, rule: Any, status: int, error: str) -> None:
    call.cloud.misbehave(rule)
    refused = call.rent()
    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert call.listed() == []


# Answers


def test_a_create_answers_the_contract_and_its_own_key_and_nothing_of_the_price(call: Caller) -> None:
    answer = call.rent().json()
    assert answer.keys() == {"success", "new_contract", "instance_api_key"}
    assert len(answer["instance_api_key"]) == 64


def test_an_answer_may_be_lost_and_the_instance_be_there(call: Caller) -> None:
    call.cloud.misbehave({"do": "reset", "call": "create", "when": "after", "times": 1})
    with pytest.raises(httpx.TransportError):
        call.rent()
    assert len(call.listed(select_filters={"label": {"eq": "gpu-a"}})) == 1


def test_a_rate_limit_has_the_clouds_form(call: Caller) -> None:
    call.cloud.misbehave({"do": "rate-limit", "times": 1, "retry_after": 10}, {"do": "rate-limit", "times": 1})
    told, silent = call.rent(1), call.rent(1)
    assert (told.status_code, told.headers["retry-after"], told.json()["error"]) == (429, "10", "HTTPTooManyRequests")
    assert (silent.status_code, "retry-after" in silent.headers) == (429, False)


def test_a_body_may_ask_for_a_stopped_instance(call: Caller) -> None:
    assert call.instance(call.rented(target_state="stopped"))["intended_status"] == "stopped"
