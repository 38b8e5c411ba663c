"""RunPod's network volumes: made, listed with their price, deleted, and reached over S3."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulators.runpod import RunPodEmulator
from hypothesis import given
from hypothesis import strategies as st
from runpod_account import offer_of, pod_request, provider_at
from scripted_server import ScriptedServer, said

from gpu_cli.weights.bucket import Files
from gpu_providers.base import ProviderContext, Volume
from gpu_providers.errors import AuthError, CreateUnknown, InvalidRequest, ProviderUnavailable, RateLimited
from gpu_providers.runpod.provider import RunPodProvider
from gpu_providers.runpod.volumes import usd_per_month


@pytest.fixture
def cloud() -> Iterator[RunPodEmulator]:
    with RunPodEmulator() as cloud:
        yield cloud


@pytest.fixture
def provider(cloud: RunPodEmulator, tmp_path: Path) -> RunPodProvider:
    return provider_at(cloud, tmp_path)


def test_a_volume_is_made_listed_and_deleted(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    made = provider.create_volume("weights", 100, "EU-RO-1")
    assert (made.name, made.size_gb, made.region, made.price_usd_per_month) == ("weights", 100, "EU-RO-1", 7.0)
    assert provider.volumes() == [made]
    provider.delete_volume(made.volume_id)
    assert provider.volumes() == []
    assert not any(one["alive"] for one in cloud.bill()["resources"])


@pytest.mark.parametrize("size", ["100", "100.0", 100.0])
def test_the_size_of_a_volume_may_be_text(size: object, tmp_path: Path) -> None:
    volume = {"id": "v1", "name": "weights", "size": size, "dataCenter": "EU-RO-1", "type": "STANDARD"}
    with ScriptedServer(said({"networkVolumes": [volume]})) as cloud:
        environ = {"RUNPOD_API_KEY": "rpa_TEST", "GPU_RUNPOD_API_URL": f"{cloud.url}/v2"}
        (found,) = RunPodProvider(ProviderContext(tmp_path, environ)).volumes()
    assert (found.size_gb, found.price_usd_per_month) == (100, 7.0)


def test_a_volume_without_its_id_is_no_answer(tmp_path: Path) -> None:
    with ScriptedServer(said({"networkVolumes": [{"name": "weights"}]})) as cloud:
        environ = {"RUNPOD_API_KEY": "rpa_TEST", "GPU_RUNPOD_API_URL": f"{cloud.url}/v2"}
        with pytest.raises(ProviderUnavailable, match="without its id"):
            RunPodProvider(ProviderContext(tmp_path, environ)).volumes()


def test_a_volume_that_is_gone_is_deleted_with_success(provider: RunPodProvider) -> None:
    provider.delete_volume("none")


def test_the_name_of_a_data_center_may_be_written_small(provider: RunPodProvider) -> None:
    assert provider.create_volume("weights", 10, "eu-ro-1").region == "EU-RO-1"


@pytest.mark.parametrize("size_gb", [9, 4097])
def test_a_size_that_runpod_does_not_have_is_refused_before_it_is_asked(
    provider: RunPodProvider, cloud: RunPodEmulator, size_gb: int
) -> None:
    with pytest.raises(InvalidRequest, match=f"{size_gb} GB"):
        provider.create_volume("weights", size_gb, "EU-RO-1")
    assert cloud.requests == []


def test_a_data_center_without_volumes_is_refused(provider: RunPodProvider) -> None:
    with pytest.raises(InvalidRequest, match="US-TX-3"):
        provider.create_volume("weights", 10, "US-TX-3")


def test_a_name_that_is_taken_is_refused(provider: RunPodProvider) -> None:
    provider.create_volume("weights", 10, "EU-RO-1")
    with pytest.raises(InvalidRequest, match="already"):
        provider.create_volume("weights", 10, "EU-CZ-1")


@pytest.mark.parametrize("rule", [{"do": "server-error", "when": "after"}, {"do": "reset", "when": "after"}])
def test_a_create_whose_answer_is_lost_is_found_again(
    provider: RunPodProvider, cloud: RunPodEmulator, rule: dict[str, str]
) -> None:
    cloud.misbehave({**rule, "call": "volumes", "after": 1, "times": 1})
    made = provider.create_volume("weights", 10, "EU-RO-1")
    assert provider.volumes() == [made]


def test_a_create_that_may_not_have_worked_is_told_as_such(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "server-error", "call": "volumes", "after": 1, "times": 1})
    with pytest.raises(CreateUnknown):
        provider.create_volume("weights", 10, "EU-RO-1")
    assert provider.volumes() == []


def test_the_price_of_the_faster_tier_is_not_guessed(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    import httpx

    body = {"name": "fast", "size": 10, "dataCenter": "US-KS-2", "type": "HIGH_PERFORMANCE"}
    key = {"Authorization": f"Bearer {cloud.key}"}
    assert httpx.post(f"{cloud.url}/v2/network-volumes", json=body, headers=key).status_code == 201
    assert [volume.price_usd_per_month for volume in provider.volumes()] == [None]


@given(st.integers(10, 4096))
def test_a_gigabyte_costs_seven_cents_and_beyond_the_first_terabyte_five(size_gb: int) -> None:
    first, beyond = min(size_gb, 1000), max(0, size_gb - 1000)
    assert usd_per_month(size_gb) == pytest.approx((7 * first + 5 * beyond) / 100)


def test_the_price_is_what_is_billed(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    made = provider.create_volume("weights", 2000, "EU-RO-1")
    cloud.clock.advance(730 * 3600)
    assert cloud.bill()["usd"] == pytest.approx(made.price_usd_per_month, rel=0.001)


def test_its_bucket_is_at_its_data_centers_address(tmp_path: Path) -> None:
    keys = {"RUNPOD_S3_ACCESS_KEY_ID": "user_1", "RUNPOD_S3_SECRET_ACCESS_KEY": "rps_1", "RUNPOD_API_KEY": "rpa_1"}
    bucket = RunPodProvider(ProviderContext(tmp_path, keys)).bucket(Volume("runpod", "v1", "w", 10, "EUR-IS-1", 0.7))
    assert (bucket.endpoint_url, bucket.region, bucket.bucket) == (
        "https://s3api-eur-is-1.runpod.io",
        "EUR-IS-1",
        "v1",
    )
    assert (bucket.access_key_id.reveal(), bucket.secret_access_key.reveal()) == ("user_1", "rps_1")
    assert "rps_1" not in repr(bucket)


def test_a_data_center_without_the_s3_api_is_told_with_those_that_have_it(tmp_path: Path) -> None:
    keys = {"RUNPOD_S3_ACCESS_KEY_ID": "user_1", "RUNPOD_S3_SECRET_ACCESS_KEY": "rps_1", "RUNPOD_API_KEY": "rpa_1"}
    with pytest.raises(InvalidRequest, match="US-TX-3") as refusal:
        RunPodProvider(ProviderContext(tmp_path, keys)).bucket(Volume("runpod", "v1", "w", 10, "US-TX-3", 0.7))
    assert "EU-RO-1" in refusal.value.hint


@pytest.mark.parametrize("missing", ["RUNPOD_S3_ACCESS_KEY_ID", "RUNPOD_S3_SECRET_ACCESS_KEY"])
def test_a_missing_s3_key_is_named_with_the_place_to_get_it(
    cloud: RunPodEmulator, tmp_path: Path, missing: str
) -> None:
    provider = provider_at(cloud, tmp_path, **{missing: ""})
    with pytest.raises(AuthError, match=missing) as refusal:
        provider.bucket(Volume("runpod", "v1", "w", 10, "EU-RO-1", 0.7))
    assert "S3 API Keys" in refusal.value.hint


def test_a_volume_is_found_by_its_id_before_its_name(provider: RunPodProvider) -> None:
    first = provider.create_volume("weights", 10, "EU-RO-1")
    second = provider.create_volume(first.volume_id, 10, "EU-RO-1")
    assert provider._volumes.find(first.volume_id) == first
    provider.delete_volume(first.volume_id)
    assert provider._volumes.find(second.name) == second


def test_a_volume_that_there_is_not_is_told_with_those_that_are(provider: RunPodProvider) -> None:
    provider.create_volume("weights", 10, "EU-RO-1")
    with pytest.raises(InvalidRequest, match="'other'") as refusal:
        provider._volumes.find("other")
    assert "weights" in refusal.value.hint


def test_asked_too_often_it_is_told_as_such(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "rate-limit", "call": "volumes", "retry_after": 3600})
    with pytest.raises(RateLimited):
        provider.volumes()


def printed(provider: RunPodProvider, resource_id: str) -> list[str]:
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        if lines := list(provider.logs(resource_id)):
            return lines
        time.sleep(0.05)
    raise AssertionError("it printed nothing")


def test_a_pod_finds_on_the_volume_what_was_put_there(tmp_path: Path) -> None:
    with RunPodEmulator(engine="stub", boot_s=0) as cloud:
        provider = provider_at(cloud, tmp_path)
        volume = provider.create_volume("weights", 10, "EU-RO-1")
        bucket = provider.bucket(volume)
        Files(bucket).put("huggingface/hub/a/file", b"from the volume\n")
        offer = offer_of(provider, volume="weights")
        env = {"HF_HOME": f"{provider.volume_path}/huggingface"}
        look = ("-c", "cat $HF_HOME/hub/a/file; exec sleep 600")
        request = pod_request(offer, volume="weights", env=env, entrypoint=("sh",), command=look)
        assert printed(provider, provider.launch(request).resource_id) == ["from the volume"]
