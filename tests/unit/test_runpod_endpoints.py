"""RunPod's serverless endpoints: what they cost, how they are made, and what is said of them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from emulators.runpod import RunPodEmulator
from runpod_account import H100, IMAGE, RTX_4090, offer_of, pod_request, provider_at

from gpu_providers.base import Kind, LaunchRequest, Offer, Resource, ResourceState, Search, Secret
from gpu_providers.errors import CommandCrashed, CreateUnknown, InvalidRequest, NotFound, ProviderUnavailable
from gpu_providers.runpod import marks
from gpu_providers.runpod.provider import RunPodProvider

NAME = "gpu-test-1"
SERVERLESS = Search(kind=Kind.SERVERLESS)
PATIENCE_S = 20.0


@pytest.fixture
def cloud() -> Iterator[RunPodEmulator]:
    with RunPodEmulator() as cloud:
        yield cloud


@pytest.fixture
def provider(cloud: RunPodEmulator, tmp_path: Path) -> RunPodProvider:
    return provider_at(cloud, tmp_path)


def offers(provider: RunPodProvider, **search: Any) -> dict[str, Offer]:
    return {offer.offer_id: offer for offer in provider.offers(replace(SERVERLESS, **search))}


def request_for(provider: RunPodProvider, gpu_id: str = H100, *, count: int = 1, **changes: Any) -> LaunchRequest:
    offer = offer_of(provider, gpu_id, count=count, kind=Kind.SERVERLESS)
    command = ("acme/model", "--served-model-name", "two words", "--port", "8000")
    usual = {"entrypoint": (), "command": command, "env": {}, "idle_s": 900.0}
    return pod_request(offer, NAME, **{**usual, **changes})


def created(cloud: RunPodEmulator) -> Any:
    """The body of the last create."""
    return next(r.json() for r in reversed(cloud.requests) if (r.method, r.path) == ("POST", "/v2/serverless"))


def get(cloud: RunPodEmulator, resource: Resource, path: str = "/health", **headers: str) -> httpx.Response:
    key = {"Authorization": f"Bearer {cloud.key}"}
    return httpx.get(f"{resource.endpoint}{path}", headers={**key, **headers}, timeout=10)


def until(condition: Callable[[], Any]) -> Any:
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass")


# Offers


def test_a_worker_costs_the_catalogues_price_times_the_cards_and_its_disk(provider: RunPodProvider) -> None:
    two = offers(provider, disk_gib=60)[f"runpod-serverless-2x{H100}"]
    assert (two.kind, two.gpu, two.gpu_count) == (Kind.SERVERLESS, "H100", 2)
    assert two.price_parts["worker"] == pytest.approx(2 * 4.18)
    assert two.price_usd_per_hour == pytest.approx(sum(two.price_parts.values()))
    assert two.price_parts["disk"] > 0


def test_a_card_without_a_serverless_price_is_no_offer(provider: RunPodProvider) -> None:
    assert not [offer_id for offer_id in offers(provider) if "MI300X" in offer_id or "3070" in offer_id]


def test_a_card_without_stock_is_no_offer(tmp_path: Path) -> None:
    with RunPodEmulator(stock={H100: "NONE"}) as cloud:
        found = offers(provider_at(cloud, tmp_path))
    assert f"runpod-serverless-1x{RTX_4090}" in found
    assert f"runpod-serverless-1x{H100}" not in found


def test_only_hosts_with_a_recent_enough_driver_count(provider: RunPodProvider) -> None:
    a6000 = "runpod-serverless-1xNVIDIA RTX A6000"
    assert a6000 in offers(provider)
    assert a6000 not in offers(provider, min_cuda_version="13.0")


def test_a_volume_decides_where_workers_can_be(provider: RunPodProvider) -> None:
    provider.create_volume("weights", 100, "EU-RO-1")
    assert {offer.region for offer in offers(provider, volume="weights").values()} == {"EU-RO-1"}


def test_regions_of_the_recipe_are_kept_to(provider: RunPodProvider) -> None:
    assert {o.region for o in offers(provider, options={"regions": ["US-KS-2"]}).values()} == {"US-KS-2"}


# Launch


def test_everything_whose_default_is_a_trap_is_sent(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    provider.launch(request_for(provider, min_cuda_version="12.8"))
    body = created(cloud)
    assert body["type"] == "LOAD_BALANCER"
    assert body["workers"] == {"min": 0, "max": 1, "idleTimeout": 900}
    assert body["scaling"] == {"type": "REQUEST_COUNT", "requestCount": 16}
    assert body["timeout"] == 600_000
    assert body["flashboot"] == "FLASHBOOT"
    assert body["disk"] >= 60
    assert body["ports"] == ["8000/http"]
    assert body["gpu"]["count"] == 1
    assert body["gpu"]["minCudaVersion"] == "12.8"
    assert "dataCenterIds" not in body


def test_the_command_survives_the_shell(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    provider.launch(request_for(provider))
    assert created(cloud)["args"] == "acme/model --served-model-name 'two words' --port 8000"
    assert "entrypoint" not in created(cloud)


def test_the_pool_is_narrowed_to_the_very_card(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    provider.launch(request_for(provider, H100))
    gpu = created(cloud)["gpu"]
    assert gpu["pools"] == ["ADA_80_PRO"]
    assert gpu["excludedTypes"] == ["NVIDIA H100 NVL", "NVIDIA H100 PCIe"]


def test_health_is_looked_for_where_the_engine_listens(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    provider.launch(request_for(provider))
    env = created(cloud)["env"]
    assert (env["PORT"], env["PORT_HEALTH"], env["HEALTH_CHECK_PATH"]) == ("8000", "8000", "/health")


def test_secrets_go_into_the_environment_alone(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    provider.launch(request_for(provider, secret_env={"HF_TOKEN": Secret("hf_secret")}))
    body = created(cloud)
    assert body["env"]["HF_TOKEN"] == "hf_secret"
    assert "hf_secret" not in body["args"]


def test_what_the_recipe_says_is_sent(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    said = {
        "workers_min": 1, "workers_max": 3, "flashboot": False, "timeout": 90, "registry": "reg1",
        "regions": ["US-KS-2"], "disk_gb": 200,
    }  # fmt: skip
    provider.launch(request_for(provider, options=said, concurrency=64))
    body = created(cloud)
    assert (body["workers"]["min"], body["workers"]["max"]) == (1, 3)
    assert (body["flashboot"], body["timeout"], body["registry"]) == ("OFF", 90_000, "reg1")
    assert (body["dataCenterIds"], body["disk"]) == (["US-KS-2"], 200)
    assert body["scaling"]["requestCount"] == 64


def test_a_volume_is_attached_by_its_id(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    volume = provider.create_volume("weights", 100, "US-KS-2")
    provider.launch(request_for(provider, volume="weights"))
    assert created(cloud)["networkVolumes"] == [volume.volume_id]
    assert created(cloud)["dataCenterIds"] == ["US-KS-2"]


@pytest.mark.parametrize("idle_s", [0.0, 3601.0])
def test_an_idle_limit_that_runpod_does_not_have_is_refused(
    cloud: RunPodEmulator, provider: RunPodProvider, idle_s: float
) -> None:
    request = request_for(provider, idle_s=idle_s)
    with pytest.raises(InvalidRequest, match="1 s to 1 h"):
        provider.launch(request)
    assert not list(cloud.endpoints)


def test_the_idle_limit_is_read_back_from_runpod(provider: RunPodProvider) -> None:
    resource = provider.launch(request_for(provider, idle_s=59.2))
    assert provider.describe(resource.resource_id).native_idle_s == 60.0


@pytest.mark.parametrize("rule", [{"do": "server-error", "when": "after"}, {"do": "reset", "when": "after"}])
def test_a_create_of_unknown_outcome_is_found_by_its_name(
    cloud: RunPodEmulator, provider: RunPodProvider, rule: dict[str, str]
) -> None:
    request = request_for(provider)
    cloud.misbehave({**rule, "call": "create", "times": 1})
    with pytest.raises(CreateUnknown):
        provider.launch(request)
    found = provider.find(NAME)
    assert found is not None
    provider.terminate(found.resource_id)
    assert provider.find(NAME) is None


def test_a_card_that_left_serverless_has_no_capacity(tmp_path: Path) -> None:
    with RunPodEmulator() as cloud:
        provider = provider_at(cloud, tmp_path)
        request = request_for(provider)
        offer = replace(request.offer, offer_id="runpod-serverless-1xNVIDIA Something New")
        with pytest.raises(Exception, match="no serverless workers"):
            provider.launch(replace(request, offer=offer))


# What is said of it


def test_it_is_described_as_it_was_made(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    made = provider.launch(request_for(provider))
    described = provider.describe(made.resource_id)
    assert described == made
    assert made.resource_id.startswith("serverless/")
    assert made.labels == {"recipe": "llama", "deadline_at": "1800000000.5"}
    assert made.endpoint.startswith(f"{cloud.url}/lb/")
    assert provider.find(NAME) == described
    assert provider.list_resources() == [described]


def test_without_workers_it_costs_nothing(provider: RunPodProvider) -> None:
    resource = provider.launch(request_for(provider))
    assert (resource.state, resource.price_usd_per_hour) == (ResourceState.RUNNING, 0.0)
    assert provider.boot(resource.resource_id).detail == "no workers"


def test_a_request_wakes_a_worker_which_then_costs(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    request = request_for(provider)
    resource = provider.launch(request)
    assert get(cloud, resource).status_code in (400, 502)
    described = provider.describe(resource.resource_id)
    assert described.price_usd_per_hour == pytest.approx(request.offer.price_usd_per_hour)
    assert (described.detail, described.region) == ("1 worker initializing", "US-KS-2")


def test_a_worker_that_waits_for_a_host_costs_nothing(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    resource = provider.launch(request_for(provider))
    cloud.misbehave({"do": "no-capacity"})
    assert get(cloud, resource).status_code == 400
    described = provider.describe(resource.resource_id)
    assert (described.detail, described.price_usd_per_hour) == ("1 worker throttled", 0.0)
    assert cloud.bill()["usd"] == 0.0


def test_the_bill_agrees_with_the_price(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    resource = provider.launch(request_for(provider, options={"workers_min": 1}))
    cloud.clock.advance(3600)
    hour_usd = provider.describe(resource.resource_id).price_usd_per_hour
    assert cloud.bill()["usd"] == pytest.approx(hour_usd, rel=0.01)


def test_a_terminated_endpoint_is_gone_and_costs_no_more(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    resource = provider.launch(request_for(provider, options={"workers_min": 1}))
    provider.terminate(resource.resource_id)
    provider.terminate(resource.resource_id)
    with pytest.raises(NotFound):
        provider.describe(resource.resource_id)
    assert not any(one["alive"] for one in cloud.bill()["resources"])


def test_somebody_elses_endpoint_is_not_touched(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    body = {
        "name": NAME, "type": "LOAD_BALANCER", "image": IMAGE, "gpu": {"pools": ["ADA_24"]},
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {cloud.key}"}
    assert httpx.post(f"{cloud.url}/v2/serverless", json=body, headers=headers).status_code == 201
    assert provider.list_resources() == []
    assert provider.find(NAME) is None


def test_our_endpoint_is_found_by_its_name_although_its_environment_is_not_shown(
    cloud: RunPodEmulator, provider: RunPodProvider
) -> None:
    made = provider.launch(request_for(provider))
    cloud.misbehave({"do": "missing-fields", "fields": ["env"], "call": "list"})
    found = provider.find(NAME)
    assert found is not None
    assert found.resource_id == made.resource_id


def test_an_endpoint_without_its_id_is_no_answer_and_never_seems_gone(
    cloud: RunPodEmulator, provider: RunPodProvider
) -> None:
    provider.launch(request_for(provider))
    cloud.misbehave({"do": "missing-fields", "fields": ["id"], "call": "list"})
    with pytest.raises(ProviderUnavailable, match="without its id"):
        provider.find(NAME)


def test_a_name_that_runpod_adds_to_is_still_ours() -> None:
    env = {"GPU_RESOURCE": NAME}
    assert marks.name_of({"name": f"{NAME} -fb", "env": env}) == NAME
    assert marks.name_of({"name": f"{NAME}-other", "env": env}) == ""


def test_the_address_is_filled_in_when_runpod_does_not_say_it(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    request = request_for(provider)
    cloud.misbehave({"do": "missing-fields", "call": "create", "fields": ["requestUrls"]})
    resource = provider.launch(request)
    assert resource.endpoint == f"{cloud.url}/lb/{resource.resource_id.removeprefix('serverless/')}"


def test_a_status_that_nobody_knows_is_counted_as_billed(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    request = request_for(provider, options={"workers_min": 1})
    resource = provider.launch(request)
    cloud.misbehave({"do": "unknown-enum", "call": "get"})
    described = provider.describe(resource.resource_id)
    assert described.state is ResourceState.RUNNING
    assert described.price_usd_per_hour == pytest.approx(request.offer.price_usd_per_hour)


def test_it_asks_for_runpods_key_at_the_edge(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    key = provider.edge_key(Kind.SERVERLESS, "gpu-a")
    assert key is not None
    assert key.reveal() == cloud.key
    resource = provider.launch(request_for(provider))
    assert httpx.get(f"{resource.endpoint}/health").status_code == 401


def test_a_worker_in_a_crash_loop_is_told(tmp_path: Path) -> None:
    with RunPodEmulator(misbehave=[{"do": "crash-loop"}]) as cloud:
        provider = provider_at(cloud, tmp_path)
        resource = provider.launch(request_for(provider, options={"workers_min": 1}))

        def crashed() -> bool:
            try:
                provider.boot(resource.resource_id)
            except CommandCrashed:
                return True
            return False

        until(crashed)


def test_an_endpoint_whose_workers_all_fail_is_broken(tmp_path: Path) -> None:
    with RunPodEmulator(misbehave=[{"do": "crash-loop"}], boot_s=0) as cloud:
        provider = provider_at(cloud, tmp_path)
        resource = provider.launch(request_for(provider, options={"workers_min": 1}))
        until(lambda: provider.describe(resource.resource_id).state is ResourceState.BROKEN)
        assert provider.describe(resource.resource_id).detail == "1 worker unhealthy"


def test_an_image_that_nobody_has_is_told(tmp_path: Path) -> None:
    rule = {"do": "system-line", "text": "failed to pull image: manifest unknown"}
    with RunPodEmulator(misbehave=[rule], boot_s=0) as cloud:
        provider = provider_at(cloud, tmp_path)
        resource = provider.launch(request_for(provider, options={"workers_min": 1}))
        with pytest.raises(InvalidRequest):
            until(lambda: provider.boot(resource.resource_id) is None)


def test_the_pull_of_the_image_is_progress(tmp_path: Path) -> None:
    with RunPodEmulator(boot_s=1000) as cloud:
        provider = provider_at(cloud, tmp_path)
        resource = provider.launch(request_for(provider, options={"workers_min": 1}))
        assert until(lambda: "layers" in provider.boot(resource.resource_id).detail)


def test_a_list_that_lags_hides_it_for_no_longer_than_that(cloud: RunPodEmulator, provider: RunPodProvider) -> None:
    request = request_for(provider)
    cloud.misbehave({"do": "list-lag", "seconds": 60})
    provider.launch(request)
    assert provider.find(NAME) is None
    cloud.clock.advance(61)
    assert provider.find(NAME) is not None


# With workers that answer


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[tuple[RunPodEmulator, RunPodProvider, Resource]]:
    with RunPodEmulator(engine="stub", boot_s=0) as cloud:
        provider = provider_at(cloud, tmp_path)
        resource = provider.launch(request_for(provider, idle_s=300))
        until(lambda: get(cloud, resource).status_code == 200)
        yield cloud, provider, resource


def test_a_woken_worker_serves_through_the_load_balancer(
    serving: tuple[RunPodEmulator, RunPodProvider, Resource],
) -> None:
    cloud, provider, resource = serving
    assert get(cloud, resource, "/v1/models").json()["data"][0]["id"] == "two words"
    assert provider.describe(resource.resource_id).detail == "1 worker idle"


def test_its_log_has_the_workers_lines(serving: tuple[RunPodEmulator, RunPodProvider, Resource]) -> None:
    cloud, provider, resource = serving
    (endpoint,) = cloud.endpoints
    (worker_id,) = endpoint.workers
    lines = until(lambda: list(provider.logs(resource.resource_id)))
    assert all(line.startswith(f"{worker_id}: ") for line in lines)
    assert list(provider.logs(resource.resource_id, tail=1)) == lines[-1:]


def test_following_its_log_ends_with_the_endpoint(serving: tuple[RunPodEmulator, RunPodProvider, Resource]) -> None:
    _, provider, resource = serving
    lines = provider.logs(resource.resource_id, follow=True)
    next(lines)
    provider.terminate(resource.resource_id)
    list(lines)
    assert provider.find(NAME) is None


def test_an_idle_worker_is_ended_and_the_endpoint_stays(
    serving: tuple[RunPodEmulator, RunPodProvider, Resource],
) -> None:
    cloud, provider, resource = serving
    cloud.clock.advance(299)
    cloud.bill()
    assert provider.describe(resource.resource_id).price_usd_per_hour > 0
    cloud.clock.advance(2)
    cloud.bill()
    described = provider.describe(resource.resource_id)
    assert (described.detail, described.price_usd_per_hour) == ("no workers", 0.0)
