"""`gpu up` at RunPod: what is ordered, in which order, and what becomes of orders that go wrong."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
from driver import Gpu, wait_until
from emulators.runpod import RunPodEmulator
from emulators.runpod.cards import CARDS
from rented import cards, created, point_at, supervisor_of, up

Rentable = Callable[..., str]
MI300X = "AMD Instinct MI300X OAM"
HBM3, PCIE = "NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"


@pytest.fixture(scope="module")
def engine() -> str:
    """Nobody asks it anything here that wants a process."""
    return "pretend"


def test_a_name_is_on_record_before_the_cloud_hears_of_it_and_a_lost_answer_is_looked_up_by_it(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "timeout", "call": "create", "when": "after", "seconds": 1, "times": 1})
    run = gpu.start("up", rentable("L4"), "--provider", "runpod", "--no-wait", "--json")
    wait_until(lambda: created(cloud))
    with closing(sqlite3.connect(gpu.home / "state" / "gpu.db")) as connection:
        recorded = connection.execute("SELECT resource_name, state FROM deployments").fetchall()
    assert recorded == [(created(cloud)[0]["name"], "launching")]
    launched = run.result()
    assert launched.exit == 0, launched.stderr
    (pod,) = cloud.pods
    assert (launched.json["resource_id"], len(created(cloud))) == (pod.id, 1)


def test_a_create_that_broke_off_is_found_although_the_list_lags(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "reset", "call": "create", "when": "after", "times": 1})
    cloud.misbehave({"do": "list-lag", "seconds": 0.6})
    launched = up(gpu, rentable("L4"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    (pod,) = cloud.pods
    assert (launched.json["resource_id"], len(created(cloud))) == (pod.id, 1)


def test_an_order_that_failed_without_effect_is_not_repeated_blindly(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "server-error", "call": "create", "times": 1})
    launched = up(gpu, rentable("L4", "L40S"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert "nothing was made" in launched.stderr
    names = [body["name"] for body in created(cloud)]
    assert len(set(names)) == len(names) == 2
    assert [pod.name for pod in cloud.pods] == names[1:]


def test_where_arrays_are_refused_the_command_goes_as_json_text_and_it_comes_up(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "no-arrays"})
    launched = up(gpu, rentable("L4"))
    assert launched.exit == 0, launched.stderr
    arrays, text = created(cloud)
    assert (arrays["entrypoint"], "args" in arrays) == (["python3"], False)
    assert (text["args"][0], "entrypoint" in text, "cmd" in text) == ("{", False, False)
    assert arrays["name"] == text["name"]


def test_what_is_sold_out_is_passed_over_the_cheapest_first(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "no-capacity", "times": 2})
    recipe = rentable(gpu={"names": ["L40S", "L4", "RTX-5090"], "count": 1})
    launched = up(gpu, recipe, "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert cards(created(cloud)) == ["NVIDIA L4", "NVIDIA GeForce RTX 5090", "NVIDIA L40S"]
    assert launched.json["gpu"] == "L40S"


def test_when_everything_is_sold_out_the_exit_is_5_and_nothing_is_left(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "no-capacity"})
    refused = up(gpu, rentable("L4", "L40S"))
    assert (refused.exit, refused.error["code"]) == (5, "not-launched")
    assert refused.error["message"].count("out of stock") == 1
    assert refused.error["still_billing"] == []
    assert {one["state"] for one in gpu.ls()} == {"failed"}
    assert "ending" not in refused.stderr


def test_an_order_that_the_cloud_finds_wrong_is_not_tried_elsewhere(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    refused = up(gpu, rentable("L4", "L40S", engine={"version": "0.0.nosuchimage"}))
    assert (refused.exit, refused.error["still_billing"]) == (2, [])
    assert "not found on its registry" in refused.error["message"]
    assert set(cards(created(cloud))) == {"NVIDIA L4"}


def test_two_cards_are_ordered_together_and_the_engine_is_split_over_them(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    launched = up(gpu, rentable(model="Qwen/Qwen2.5-1.5B-Instruct", gpu={"names": ["L40S"], "count": 2}), "--no-wait")
    assert launched.exit == 0, launched.stderr
    (body,) = created(cloud)
    assert body["gpu"]["count"] == launched.json["gpu_count"] == 2
    engine = supervisor_of(body)["engine"]
    assert engine[engine.index("--tensor-parallel-size") + 1] == "2"
    (pod,) = cloud.pods
    assert launched.json["price_usd_per_hour"] == pod.usd_per_hour


def test_community_machines_are_rented_where_the_recipe_allows_them(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    launched = up(gpu, rentable("RTX-4090", providers={"runpod": {"cloud": "any"}}), "--no-wait")
    assert launched.exit == 0, launched.stderr
    (body,) = created(cloud)
    assert (body["cloud"], body["gpu"]["id"]) == ("COMMUNITY", "NVIDIA GeForce RTX 4090")


def test_cards_of_amd_are_never_rented_whatever_they_cost(
    gpu: Gpu, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = tuple(replace(card, cuda=("13.0",)) if card.id == MI300X else card for card in CARDS)
    monkeypatch.setattr("emulators.runpod.catalogue.CARDS", passing)
    with RunPodEmulator(stock={"*": "NONE", MI300X: "HIGH"}) as cloud:
        point_at(cloud, monkeypatch)
        refused = up(gpu, rentable())
    assert (refused.exit, created(cloud)) == (3, []), refused.stderr
    assert "is an AMD card" in refused.error["message"]


@pytest.mark.parametrize(("stock", "first"), [({HBM3: "LOW", PCIE: "HIGH"}, PCIE), ({HBM3: "HIGH", PCIE: "LOW"}, HBM3)])
def test_of_equals_what_is_scarce_comes_last(
    gpu: Gpu, rentable: Rentable, monkeypatch: pytest.MonkeyPatch, stock: dict[str, str], first: str
) -> None:
    (pcie,) = (card for card in CARDS if card.id == PCIE)
    equal = tuple(replace(card, price=pcie.price) if card.id == HBM3 else card for card in CARDS)
    monkeypatch.setattr("emulators.runpod.catalogue.CARDS", equal)
    with RunPodEmulator(stock={"*": "NONE", **stock}) as cloud:
        point_at(cloud, monkeypatch)
        plan = gpu("plan", rentable(gpu={"names": ["H100", "H100-PCIE"], "count": 1}), "--provider", "runpod", "--json")
    assert plan.exit == 0, plan.stderr
    assert plan.json["candidates"][0]["offer_id"] == f"runpod-secure-1x{first}"


def test_a_cloud_that_is_busy_is_asked_again_when_it_says_so(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "rate-limit", "call": "offers", "retry_after": 1, "times": 1})
    cloud.misbehave({"do": "rate-limit", "call": "create", "retry_after": 1, "times": 1})
    launched = up(gpu, rentable("L4"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert len({body["name"] for body in created(cloud)}) == 1
    assert len(created(cloud)) == 2


def test_answers_with_words_that_nobody_knows_and_without_what_is_optional_are_understood(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "missing-fields", "call": "create"}, {"do": "unknown-enum", "call": "get"})
    launched = up(gpu, rentable("L4"))
    assert launched.exit == 0, launched.stderr
    assert launched.json["price_usd_per_hour"] > 0
    assert gpu("down", "--json").exit == 0
    assert len(cloud.pods) == 0
