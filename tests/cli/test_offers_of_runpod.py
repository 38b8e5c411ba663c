"""`gpu offers`, `gpu plan` and `gpu up --dry-run` against RunPod's emulator: what is asked, shown and refused."""

import time
from pathlib import Path

import pytest
from driver import Gpu
from emulators.runpod import RunPodEmulator


def test_offers_are_what_the_cloud_has_now_the_cheapest_first(gpu: Gpu, cloud: RunPodEmulator) -> None:
    ran = gpu("offers", "--provider", "runpod", "--gpu", "H100", "--json")
    assert ran.exit == 0, ran.stderr
    offers = ran.json["offers"]
    assert {offer["gpu"] for offer in offers} == {"H100"}
    prices = [offer["price_usd_per_hour"] for offer in offers]
    assert prices == sorted(prices)
    assert all(sum(offer["price_parts"].values()) == pytest.approx(offer["price_usd_per_hour"]) for offer in offers)
    assert ran.json["providers"]["runpod"]["snapshot"] is False
    assert {offer["gpu_count"] for offer in offers} > {2}
    (two,) = gpu("offers", "--provider", "runpod", "--gpu", "H100", "--count", "2", "--json").json["offers"]
    assert two in [{**offer, "prices_as_of": two["prices_as_of"]} for offer in offers]


def test_a_key_that_is_refused_is_named_with_where_to_get_one(
    gpu: Gpu, cloud: RunPodEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_wrong")
    for command in (["offers"], ["plan", "llama-70b-fp8"], ["up", "llama-70b-fp8"]):
        refused = gpu(*command, "--provider", "runpod", "--json")
        assert (refused.exit, refused.error["code"]) == (4, "no-credentials")
        assert "RUNPOD_API_KEY" in refused.error["hint"]
        assert "https://www.runpod.io/console/user/settings" in refused.error["hint"]
        assert "rpa_wrong" not in refused.stdout + refused.stderr


def test_without_a_key_a_plan_has_the_snapshots_prices_and_a_launch_is_refused(gpu: Gpu) -> None:
    plan = gpu("plan", "llama-70b-fp8", "--provider", "runpod", "--json")
    assert plan.exit == 0, plan.stderr
    assert plan.json["providers"]["runpod"]["snapshot"]
    for command in (["offers"], ["up", "llama-70b-fp8"]):
        refused = gpu(*command, "--provider", "runpod", "--json")
        assert (refused.exit, refused.error["code"]) == (4, "no-credentials")
        assert "RUNPOD_API_KEY" in refused.error["hint"]


def test_without_a_key_this_machine_serves_what_it_can(gpu: Gpu) -> None:
    up = gpu("up", "smollm2-135m", "--dry-run", "--json")
    assert up.exit == 0, up.stderr
    assert [candidate["provider"] for candidate in up.json["candidates"]] == ["local"]
    assert "runpod" not in up.stderr


def test_a_network_that_is_down_is_told_within_a_bounded_time(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_any")
    monkeypatch.setenv("GPU_RUNPOD_API_URL", "http://127.0.0.1:9/v2")
    for command in (["offers"], ["up", "llama-70b-fp8"]):
        began = time.monotonic()
        failed = gpu(*command, "--provider", "runpod", "--json")
        assert (failed.exit, failed.error["code"]) == (5, "no-answer")
        assert time.monotonic() - began < 30


def test_this_machine_comes_first_and_the_cloud_when_it_is_named(gpu: Gpu, cloud: RunPodEmulator) -> None:
    free = gpu("up", "smollm2-135m", "--dry-run", "--json").json["candidates"]
    assert free[0]["provider"] == "local"
    assert "runpod" in {candidate["provider"] for candidate in free}
    named = gpu("up", "smollm2-135m", "--provider", "runpod", "--dry-run", "--json").json["candidates"]
    assert {candidate["provider"] for candidate in named} == {"runpod"}


def test_the_catalogue_is_asked_for_hosts_whose_driver_runs_the_engine(gpu: Gpu, cloud: RunPodEmulator) -> None:
    gpu("plan", "llama-70b-fp8", "--provider", "runpod")
    asked = [request.query for request in cloud.requests if request.path.endswith("/catalog/gpus")]
    assert asked
    assert {str(query["minCudaVersion"]) for query in asked} == {"13.0"}


def test_a_plan_for_serverless_is_compared_with_the_clouds_own_pods(
    gpu: Gpu, cloud: RunPodEmulator, tmp_path: Path
) -> None:
    saved = str(tmp_path / "offers.json")
    plan = gpu("plan", "llama-70b-fp8", "--serverless", "--provider", "runpod", "--save", saved, "--json")
    assert plan.exit == 0, plan.stderr
    candidates = plan.json["candidates"]
    assert {candidate["kind"] for candidate in candidates} == {"serverless"}
    shares = [candidate["serverless_break_even"] for candidate in candidates]
    assert any(share is not None and 0 < share < 1 for share in shares)
    assert gpu("plan", "llama-70b-fp8", "--serverless", "--offers", saved, "--json").stdout == plan.stdout
    offers = gpu("offers", "--provider", "runpod", "--serverless", "--json").json["offers"]
    assert {offer["kind"] for offer in offers} == {"serverless"}
