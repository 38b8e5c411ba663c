"""RunPod's emulator behaves as RunPod has been seen or documented to; each test names one such fact."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from emulated_runpod import H100, L4, Caller, new_pod, until
from emulators.openapi import FOLDER, Conformance
from emulators.runpod import RunPodEmulator
from emulators.runpod.cards import CARDS, DATA_CENTERS
from emulators.runpod.specification import RUNPOD

H100_NVL = "NVIDIA H100 NVL"
A6000 = "NVIDIA RTX A6000"
MI300X = "AMD Instinct MI300X OAM"
B200 = "NVIDIA B200"
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)


@pytest.fixture
def cloud() -> Iterator[RunPodEmulator]:
    with RunPodEmulator(boot_s=0) as cloud:
        yield cloud


@pytest.fixture
def call(cloud: RunPodEmulator) -> Caller:
    return Caller(cloud)


# Keys, and what stands in front


@pytest.mark.parametrize("user_agent", ["Python-urllib/3.11", ""])
def test_a_user_agent_like_a_bots_is_blocked_before_the_key_is_read(cloud: RunPodEmulator, user_agent: str) -> None:
    blocked = Caller(cloud, key="wrong", user_agent=user_agent)("GET", "/pods")
    assert (blocked.status_code, blocked.headers["content-type"][:9], "1010" in blocked.text) == (
        403,
        "text/html",
        True,
    )


def test_without_a_key_or_with_an_unknown_one_it_is_401(cloud: RunPodEmulator) -> None:
    assert httpx.get(f"{cloud.url}/v2/pods").json() == {
        "title": "Unauthorized",
        "status": 401,
        "detail": "missing bearer token",
    }
    assert Caller(cloud, key="rpa_unknown")("GET", "/pods").status_code == 401


def test_the_key_of_a_pod_reads_and_ends_its_own_pod_and_nothing_else(call: Caller) -> None:
    mine, other = call.create().json()["id"], call.create().json()["id"]
    found = call.cloud.pods.get(mine)
    assert found
    inside = Caller(call.cloud, key=found.key)
    assert inside("GET", f"/pods/{mine}").status_code == 200
    for method, path, body in (
        ("GET", "/pods", None),
        ("GET", f"/pods/{other}", None),
        ("DELETE", f"/pods/{other}", None),
        ("PATCH", f"/pods/{mine}", {"name": "b"}),
        ("POST", "/pods", new_pod()),
        ("GET", "/catalog/gpus", None),
    ):
        refused = inside(method, path, body)
        assert (refused.status_code, refused.json()["detail"]) == (403, "access denied")
    assert inside("DELETE", f"/pods/{mine}").status_code == 204
    assert inside("GET", f"/pods/{mine}").status_code == 404


def test_the_key_of_a_pod_may_end_it_with_an_action(call: Caller) -> None:
    mine = call.create().json()["id"]
    found = call.cloud.pods.get(mine)
    assert found
    ended = Caller(call.cloud, key=found.key)("POST", f"/pods/{mine}/action", {"action": "terminate"})
    assert (ended.status_code, ended.content) == (204, b"")


def test_authenticated_answers_tell_the_quota(call: Caller) -> None:
    answer = call("GET", "/pods")
    assert answer.headers["ratelimit"].startswith('"minute";r=')
    assert answer.headers["ratelimit-policy"].startswith('"minute";q=')


def test_errors_are_problems(call: Caller) -> None:
    answer = call("GET", "/pods/nothing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {"title": "Not Found", "status": 404, "detail": "resource not found"}


# The balance


def test_the_balance_is_told_by_graphql(call: Caller) -> None:
    call.create()
    call.cloud.clock.advance(3600)
    myself = call.at("POST", "/graphql", {"query": "query { myself { clientBalance } }"}).json()["data"]["myself"]
    assert myself["clientBalance"] == pytest.approx(100 - 0.43685, abs=1e-3)
    assert myself["currentSpendPerHr"] == pytest.approx(0.4368, abs=1e-3)


def test_graphql_says_nothing_about_nobody(cloud: RunPodEmulator) -> None:
    query = {"query": "query { myself { clientBalance } }"}
    assert httpx.post(f"{cloud.url}/graphql", json=query).json() == {"data": {"myself": None}}
    assert Caller(cloud, key="rpa_unknown").at("POST", "/graphql", query).status_code == 401


# The catalogue


def test_stock_is_told_only_when_asked_for_and_then_needs_a_product(call: Caller) -> None:
    assert "availability" not in call("GET", "/catalog/gpus").json()["gpus"][0]
    assert call("GET", "/catalog/gpus?include=AVAILABILITY").status_code == 400


def test_prices_are_of_one_gpu_whatever_the_count(call: Caller) -> None:
    assert call.card(H100)["price"] == call.card(H100, "&count=4")["price"]


def test_stock_is_of_the_count_that_is_asked_for(call: Caller) -> None:
    assert [call.card(H100_NVL, f"&count={count}")["availability"] for count in (1, 2, 4)] == ["LOW", "LOW", "NONE"]


def test_a_price_may_be_quoted_where_no_machine_exists(call: Caller) -> None:
    card = call.card(H100_NVL, "&cloud=COMMUNITY")
    assert (card["community"], card["price"]["community"]) == (True, 1.39)
    assert (card["availability"], "dataCenters" in card) == ("NONE", False)
    assert call.card(B200)["availability"] == "NONE"


def test_a_card_of_the_community_alone_has_a_secure_price_of_zero(call: Caller) -> None:
    card = call.card("NVIDIA GeForce RTX 3070")
    assert (card["secure"], card["price"]["secure"], card["pool"]) == (False, 0, None)


@pytest.mark.parametrize(("floor", "level"), [("12.2", "HIGH"), ("12.8", "HIGH"), ("12.11", "NONE"), ("13.0", "NONE")])
def test_cuda_versions_are_compared_as_numbers(call: Caller, floor: str, level: str) -> None:
    assert call.card(A6000, f"&minCudaVersion={floor}")["availability"] == level


def test_amd_hosts_report_no_cuda_version_and_no_floor_is_met(call: Caller) -> None:
    assert "cudaVersions" not in call.card(MI300X)
    assert call.card(MI300X)["availability"] == "MEDIUM"
    assert call.card(MI300X, "&minCudaVersion=12.0")["availability"] == "NONE"


def test_countries_narrow_the_data_centers(call: Caller) -> None:
    centers = call.card(H100, "&countryCodes=CZ,FR")["dataCenters"]
    assert [(center["id"], center["availability"]) for center in centers] == [("EU-CZ-1", "MEDIUM")]


def test_data_centers_tell_their_stock_when_asked(call: Caller) -> None:
    listed = call("GET", "/catalog/datacenters?include=GPU_AVAILABILITY&regions=ASIA").json()["dataCenters"]
    assert [center["id"] for center in listed] == ["AP-JP-1"]
    assert listed[0]["gpuAvailability"] == [{"id": "NVIDIA H200", "name": "H200 SXM", "availability": "LOW"}]
    assert "gpuAvailability" not in call("GET", "/catalog/datacenters/AP-JP-1").json()


def test_the_stock_can_be_set_by_card_and_for_all_others() -> None:
    with RunPodEmulator(stock={"*": "NONE", L4: "HIGH"}) as cloud:
        asked = "/catalog/gpus?include=AVAILABILITY&product=POD"
        stock = {card["id"]: card["availability"] for card in Caller(cloud)("GET", asked).json()["gpus"]}
    assert {id_ for id_, level in stock.items() if level != "NONE"} == {L4}
    with pytest.raises(ValueError, match="no such card: L4"):
        RunPodEmulator(stock={"L4": "HIGH"})


def test_every_place_of_the_catalogue_is_a_data_center() -> None:
    assert {center for card in CARDS for center in (*card.secure, *card.community)} <= set(DATA_CENTERS)


# Creation


def test_a_pod_is_running_and_billed_at_once_and_has_a_runtime_only_later() -> None:
    with RunPodEmulator(boot_s=1000) as cloud:
        call = Caller(cloud)
        created = call.create()
        pod = created.json()
        assert (created.status_code, pod["status"], pod["runtime"]) == (201, "RUNNING", None)
        assert pod["startedAt"]
        cloud.clock.advance(100)
        assert cloud.bill()["usd"] == pytest.approx(pod["cost"] / 36, rel=1e-2)
        for _ in range(6):
            cloud.clock.advance(200)
            time.sleep(0.06)
        until(lambda: call.pod(pod["id"])["runtime"])


def test_the_cost_is_price_by_count_and_the_disk(call: Caller) -> None:
    pod = call.create(gpu={"id": H100, "count": 2}, disk=730).json()
    assert pod["cost"] == pytest.approx(2 * 2.79 + 0.10)


def test_the_environment_is_shown_in_clear_without_what_the_cloud_adds(call: Caller) -> None:
    assert call.create(env={"SECRET": "x"}).json()["env"] == {"SECRET": "x"}


def test_what_the_cloud_sets_in_a_pod_shadows_what_the_caller_sets(call: Caller) -> None:
    pod = call.cloud.pods.get(call.create(env={"RUNPOD_API_KEY": "mine", "A": "1"}).json()["id"])
    assert pod
    environ = pod.environ()
    assert (environ["RUNPOD_API_KEY"], environ["RUNPOD_POD_ID"], environ["A"]) == (pod.key, pod.id, "1")


def test_names_need_not_be_unique(call: Caller) -> None:
    assert [call.create(name="same").status_code for _ in range(2)] == [201, 201]


@pytest.mark.parametrize(
    ("more", "errors"),
    [
        ({"gpuTypeIds": []}, ["$: additional properties 'gpuTypeIds' not allowed"]),
        ({"image": None}, ["$: missing property 'image'"]),
        ({"gpu": {"count": 1}}, ["$.gpu: additional properties 'count' not allowed", "$.gpu: missing property 'id'"]),
        ({"cloud": "ALL"}, ["$.cloud: value must be one of 'SECURE', 'COMMUNITY'"]),
        ({"disk": 0}, ["$.disk: minimum 1, got 0"]),
        ({"disk": "50"}, ["$.disk: value must be an integer"]),
        ({"env": {"A": 1}}, ["$.env.A: value must be a string"]),
        ({"ports": [8000]}, ["$.ports[0]: value must be a string"]),
        ({"name": ""}, ["$.name: '' does not match '.+'"]),
        ({"args": "say 'hi"}, ["$.args: value is not a command line: No closing quotation"]),
        ({"mounts": {"persistent": {"size": 5, "path": "/x"}}}, ["$.mounts.persistent.size: minimum 10, got 5"]),
    ],
)
def test_a_body_of_another_shape_is_422(call: Caller, more: dict[str, object], errors: list[str]) -> None:
    refused = call.create(**more)
    assert (refused.status_code, refused.json()["detail"]) == (422, "Request validation failed.")
    assert refused.json()["errors"] == errors


def test_a_missing_property_makes_the_others_unknown_too(call: Caller) -> None:
    refused = call("POST", "/pods", {"image": "a", "disk": 5})
    assert refused.json()["errors"] == [
        "$: additional properties 'image', 'disk' not allowed",
        "$: missing property 'name'",
    ]


def test_an_image_that_no_registry_has_is_422(call: Caller) -> None:
    refused = call.create(image="ghcr.io/x/nosuchimage:1")
    assert (refused.status_code, "not found" in refused.json()["detail"]) == (422, True)


def test_a_template_that_nobody_has_is_404(call: Caller) -> None:
    assert call.create(templateId="abc").status_code == 404


@pytest.mark.parametrize(
    "more",
    [
        {"gpu": None},
        {"cpu": {"id": "cpu5c", "vcpuCount": 2}},
        {"gpu": {"id": L4, "count": 1, "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.8"}},
        {"ports": [f"{8000 + i}/http" for i in range(11)]},
    ],
)
def test_a_body_that_contradicts_itself_is_400_and_not_for_lack_of_capacity(call: Caller, more: dict[str, Any]) -> None:
    refused = call.create(**more)
    assert refused.status_code == 400
    assert refused.json()["detail"] != NO_CAPACITY


@pytest.mark.parametrize(
    "more",
    [
        {"gpu": {"id": L4}},  # without a count
        {"gpu": {"id": L4, "count": 16}},
        {"gpu": {"id": B200, "count": 1}},
        {"gpu": {"id": A6000, "count": 1, "minCudaVersion": "13.0"}},
        {"gpu": {"id": L4, "count": 1, "allowedCudaVersions": ["12.7"]}},
        {"dataCenterIds": ["EU-CZ-1"]},
        {"dataCenterIds": ["eu-ro-1"]},
        {"cloud": "COMMUNITY"},
    ],
)
def test_what_nobody_has_is_400_with_one_text_for_all(call: Caller, more: dict[str, Any]) -> None:
    refused = call.create(**more)
    assert (refused.status_code, refused.json()["detail"]) == (400, NO_CAPACITY)


def test_a_network_volume_pins_its_data_center_and_the_secure_cloud(call: Caller) -> None:
    volume = call("POST", "/network-volumes", {"name": "v", "size": 10, "dataCenter": "EU-CZ-1"}).json()["id"]
    mounts = {"network": [{"volumeId": volume, "path": "/data"}]}
    assert call.create(mounts=mounts, gpu={"id": H100, "count": 1}).json()["dataCenterId"] == "EU-CZ-1"
    assert call.create(mounts=mounts, gpu={"id": L4, "count": 1}).json()["detail"] == NO_CAPACITY
    assert "cannot be mounted" in call.create(mounts=mounts, cloud="COMMUNITY").json()["detail"]
    unknown = {"network": [{"volumeId": "nothing", "path": "/data"}]}
    assert "cannot be mounted" in call.create(mounts=unknown).json()["detail"]


def test_an_empty_list_of_cuda_versions_is_no_constraint(call: Caller) -> None:
    gpu = {"id": L4, "count": 1, "allowedCudaVersions": [], "minCudaVersion": "12.8"}
    assert call.create(gpu=gpu).json()["cudaVersion"] == "13.0"


def test_a_body_of_more_than_102400_bytes_is_413(call: Caller) -> None:
    assert call.create(env={"A": "x" * 102_400}).status_code == 413


def test_an_account_that_cannot_pay_an_hour_is_refused_with_402() -> None:
    with RunPodEmulator(balance_usd=0.40) as cloud:
        assert Caller(cloud).create().status_code == 402


def test_a_list_of_pods_ignores_a_filter_that_it_does_not_know(call: Caller) -> None:
    call.create(name="gpu-a")
    assert len(call("GET", "/pods?name=gpu-b").json()["pods"]) == 1
    call.cloud.conformance.violations.clear()  # it would complain that we asked


def test_a_list_comes_in_pages(call: Caller) -> None:
    ids = [call.create().json()["id"] for _ in range(3)]
    first = call("GET", "/pods?limit=2").json()
    assert first["pagination"]["hasNextPage"]
    second = call("GET", f"/pods?limit=2&cursor={first['pagination']['nextCursor']}").json()
    assert [pod["id"] for pod in first["pods"] + second["pods"]] == ids
    assert second["pagination"] == {"nextCursor": None, "hasNextPage": False}


# Life and end


def test_a_deleted_pod_is_404_at_once_and_so_is_its_second_delete(call: Caller) -> None:
    id_ = call.create().json()["id"]
    deleted = call("DELETE", f"/pods/{id_}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert [call(method, f"/pods/{id_}").status_code for method in ("GET", "DELETE")] == [404, 404]


def test_a_stopped_pod_still_says_what_it_cost_and_pays_for_its_persistent_disk(call: Caller) -> None:
    mounts = {"persistent": {"size": 730, "path": "/data"}}
    created = call.create(mounts=mounts).json()
    stopped = call("POST", f"/pods/{created['id']}/action", {"action": "stop"}).json()
    assert (stopped["status"], stopped["runtime"], stopped["cost"]) == ("EXITED", None, created["cost"])
    before = call.cloud.bill()["usd"]
    call.cloud.clock.advance(3600)
    assert call.cloud.bill()["usd"] - before == pytest.approx(0.20, abs=1e-3)


def test_a_stopped_pod_starts_again_and_costs_as_before(call: Caller) -> None:
    id_ = call.create().json()["id"]
    for action, status in (("stop", "EXITED"), ("start", "RUNNING")):
        assert call("POST", f"/pods/{id_}/action", {"action": action}).json()["status"] == status
    until(lambda: call.pod(id_)["runtime"])
    before = call.cloud.bill()["usd"]
    call.cloud.clock.advance(3600)
    assert call.cloud.bill()["usd"] - before == pytest.approx(0.4368, abs=1e-2)


def test_an_action_that_the_state_does_not_allow_is_409(call: Caller) -> None:
    id_ = call.create().json()["id"]
    assert call("POST", f"/pods/{id_}/action", {"action": "start"}).status_code == 409


def test_an_action_that_nobody_knows_is_422(call: Caller) -> None:
    id_ = call.create().json()["id"]
    refused = call("POST", f"/pods/{id_}/action", {"action": "dance"})
    assert refused.json()["errors"] == ["$.action: value must be one of 'start', 'stop', 'restart', 'terminate'"]


def test_a_locked_pod_cannot_be_stopped_or_restarted(call: Caller) -> None:
    id_ = call.create().json()["id"]
    call("PATCH", f"/pods/{id_}", {"locked": True})
    for action in ("stop", "restart"):
        assert call("POST", f"/pods/{id_}/action", {"action": action}).status_code == 409
    call("PATCH", f"/pods/{id_}", {"locked": False})
    assert call("POST", f"/pods/{id_}/action", {"action": "stop"}).status_code == 200


def test_a_change_of_the_environment_replaces_all_of_it_and_starts_the_container_anew(call: Caller) -> None:
    id_ = call.create(env={"A": "1", "B": "2"}).json()["id"]
    until(lambda: call.pod(id_)["runtime"])
    pod = call.cloud.pods.get(id_)
    assert pod
    first = pod.container
    assert call("PATCH", f"/pods/{id_}", {"env": {"A": "3"}}).json()["env"] == {"A": "3"}
    assert pod.container is not first


def test_a_new_name_leaves_the_container_alone(call: Caller) -> None:
    id_ = call.create().json()["id"]
    pod = call.cloud.pods.get(id_)
    assert pod
    container = pod.container
    assert call("PATCH", f"/pods/{id_}", {"name": "b"}).json()["name"] == "b"
    assert pod.container is container


def test_without_money_pods_are_terminated_and_those_with_a_volume_stopped() -> None:
    with RunPodEmulator(balance_usd=2.0) as cloud:
        call = Caller(cloud)
        volume = call("POST", "/network-volumes", {"name": "v", "size": 10, "dataCenter": "US-KS-2"}).json()["id"]
        lost = call.create().json()["id"]
        kept = call.create(mounts={"network": [{"volumeId": volume, "path": "/data"}]}).json()["id"]
        cloud.clock.advance(3600 * 24)
        assert call("GET", f"/pods/{lost}").status_code == 404
        assert call.pod(kept)["status"] == "EXITED"


def test_nothing_is_left_of_an_emulator_whose_pods_were_left_running() -> None:
    threads = set(threading.enumerate())
    with RunPodEmulator(engine="stub", boot_s=0) as cloud:
        id_ = Caller(cloud).create(entrypoint=["python3"], cmd=["-c", "import time; time.sleep(600)"]).json()["id"]
        pod = cloud.pods.get(id_)
        assert pod
        assert pod.container
        until(lambda: pod.container and pod.container.uptime_s is not None)
    assert set(threading.enumerate()) <= threads
    assert pod.container.state() == "removed"


# Behind it


def test_the_proxy_says_502_while_nothing_listens_and_404_for_what_is_not_there(call: Caller) -> None:
    id_ = call.create().json()["id"]
    paths = (f"/proxy/{id_}/8000/v1/models", f"/proxy/{id_}/9000/", "/proxy/nothing/8000/")
    assert [call.at("GET", path).status_code for path in paths] == [502, 404, 404]


def test_the_log_of_a_pod_tells_what_its_host_did(call: Caller) -> None:
    id_ = call.create().json()["id"]
    with httpx.stream("GET", f"{call.cloud.url}/v2/pods/{id_}/logs", headers=call.headers) as answer:
        lines = answer.iter_lines()
        assert any("create container vllm/vllm-openai:v0.32.0" in line for line in lines)
        assert any("start container for vllm/vllm-openai:v0.32.0: begin" in line for line in lines)


# The OpenAPI file


def test_every_addition_to_the_file_has_a_source() -> None:
    assert [addition.place for addition in RUNPOD.additions if not addition.source] == []


@pytest.fixture
def openapi_file() -> dict[str, Any]:
    """Without it this is where a run of the tests says so."""
    if reason := Conformance(RUNPOD).skipped:
        pytest.skip(f"nothing that passed through an emulated RunPod was checked: {reason}")
    return json.loads((FOLDER / RUNPOD.file).read_text())


def test_every_route_of_the_control_plane_is_in_the_file(openapi_file: Any, cloud: RunPodEmulator) -> None:
    known = {(method.upper(), path) for path, methods in openapi_file["paths"].items() for method in methods}
    routes = {(route.method, route.path) for route in cloud.routes() if route.path.startswith("/v2/")}
    assert len(routes) > 15
    assert routes - known == set()


@pytest.mark.usefixtures("openapi_file")
@pytest.mark.parametrize("do", ["list-lag", "truncated", "unknown-enum", "reset"])
def test_an_emulator_fails_its_test_when_a_request_breaks_the_file_whatever_it_answers(do: str) -> None:
    cloud = RunPodEmulator(misbehave=[{"do": do, "when": "after"}])
    with pytest.raises(AssertionError, match="GET /v2/pods -> 200: no parameter name: it is ignored"), cloud:
        ask_for_a_filter(cloud)


def ask_for_a_filter(cloud: RunPodEmulator) -> None:
    with suppress(httpx.TransportError):
        Caller(cloud)("GET", "/pods?name=a")
