"""What RunPod refuses, or does not answer, before anything runs: which status says so, and what to do."""

import time
from collections.abc import Callable

import pytest
from driver import Gpu
from emulators.runpod import RunPodEmulator
from rented import created, point_at, up

Rentable = Callable[..., str]


def test_an_account_without_money_is_status_4_and_no_other_offer_is_tried(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "no-funds"})
    refused = up(gpu, rentable("L4", "L40S"))
    assert (refused.exit, refused.error["still_billing"]) == (4, [])
    assert "https://www.runpod.io/console/user/billing" in refused.error["hint"]
    assert len(created(cloud)) == 1
    assert list(cloud.pods) == []


def test_the_edge_that_takes_us_for_a_bot_is_no_matter_of_the_key(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "edge-block"})
    refused = up(gpu, rentable("L4"))
    assert (refused.exit, refused.error["code"]) == (5, "no-answer")
    assert "blocked by the edge" in refused.error["message"]


def test_a_cloud_that_is_out_of_order_is_status_5_in_bounded_time(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "server-error", "call": "offers", "status": 503})
    began = time.monotonic()
    failed = up(gpu, rentable("L4"))
    assert (failed.exit, failed.error["code"]) == (5, "no-answer")
    assert time.monotonic() - began < 30


def test_a_network_that_is_down_does_not_keep_ls_from_telling_what_is_on_record(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = up(gpu, rentable("L4"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    monkeypatch.setenv("GPU_RUNPOD_API_URL", "http://127.0.0.1:9/v2")
    began = time.monotonic()
    assert gpu.state_of("tiny") in ("booting", "loading", "ready")
    assert time.monotonic() - began < 30


def test_an_account_that_does_not_last_an_hour_is_told_and_rented_from_all_the_same(
    gpu: Gpu, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunPodEmulator(balance_usd=0.433) as cloud:  # one L4 is 0.43, and its disk comes on top
        point_at(cloud, monkeypatch)
        launched = up(gpu, rentable("L4"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert "$0.43 left on the account, less than an hour" in launched.stderr


def test_the_key_of_another_account_cannot_declare_gone_what_it_does_not_see(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    assert up(gpu, rentable("L4")).exit == 0
    with RunPodEmulator(engine="none") as other:
        other.key = "rpa_ANOTHER0ACCOUNT0KEY"
        ended = gpu("down", "--json", env=other.env)
    assert ended.exit == 9
    assert "other credentials of runpod" in ended.error["message"]
    assert gpu("down").exit == 0, "the guard has the right key, and may have ended it by now"
    assert not any(resource["alive"] for resource in cloud.bill()["resources"])
