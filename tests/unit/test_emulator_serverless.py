"""The emulated RunPod has serverless endpoints and volumes with the rules, traps and limits of the real one."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from emulated_runpod import until
from emulators.runpod import RunPodEmulator
from emulators.runpod.s3 import ACCESS_KEY_ID, SECRET_ACCESS_KEY

BALANCED: dict[str, Any] = {
    "name": "e",
    "type": "LOAD_BALANCER",
    "image": "vllm/vllm-openai:v0.32.0",
    "args": "acme/model --port 8000",
    "ports": ["8000/http"],
    "env": {"PORT": "8000", "PORT_HEALTH": "8000", "HEALTH_CHECK_PATH": "/health"},
    "gpu": {"pools": ["ADA_80_PRO"]},
    "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
}
QUEUED = {**BALANCED, "type": "QUEUE", "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}}


@pytest.fixture
def cloud() -> Iterator[RunPodEmulator]:
    with RunPodEmulator() as cloud:
        yield cloud


def ask(cloud: RunPodEmulator, method: str, path: str, body: Any = None) -> httpx.Response:
    key = {"Authorization": f"Bearer {cloud.key}"}
    return httpx.request(method, f"{cloud.url}{path}", json=body, headers=key, timeout=10)


def make(cloud: RunPodEmulator, body: Any) -> httpx.Response:
    return ask(cloud, "POST", "/v2/serverless", body)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({**BALANCED, "scaling": QUEUED["scaling"]}, 422, "REQUEST_COUNT"),
        ({**QUEUED, "scaling": BALANCED["scaling"], "workers": {"idleTimeout": 5}}, 422, "idleTimeout does not apply"),
        ({**BALANCED, "workers": {"idleTimeout": 3601}}, 422, "maximum 3600"),
        ({**BALANCED, "workersMax": 1}, 422, "additional properties 'workersMax' not allowed"),
        ({**BALANCED, "gpu": {"count": 1}}, 422, "missing property 'pools'"),
        ({**BALANCED, "gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA GeForce RTX 4090"]}}, 400, "no type"),
        ({**BALANCED, "gpu": {"pools": ["NOWHERE"]}}, 400, "NOWHERE"),
        ({key: value for key, value in BALANCED.items() if key != "gpu"}, 400, "exactly one of gpu and cpu"),
        ({**BALANCED, "networkVolumes": ["none"]}, 400, "none"),
    ],
)
def test_what_the_api_refuses_is_refused(cloud: RunPodEmulator, body: Any, status: int, said: str) -> None:
    answer = make(cloud, body)
    assert answer.status_code == status
    assert said in answer.text
    assert list(cloud.endpoints) == []


def test_the_defaults_are_traps(cloud: RunPodEmulator) -> None:
    made = make(cloud, BALANCED).json()
    assert (made["timeout"], made["flashboot"]) == (0, "OFF")
    assert made["workers"] == {"min": 0, "max": 3, "idleTimeout": 10}


def test_both_kinds_tell_their_addresses(cloud: RunPodEmulator) -> None:
    assert set(make(cloud, BALANCED).json()["requestUrls"]) == {"base", "health"}
    assert "runSync" in make(cloud, QUEUED).json()["requestUrls"]


def test_workers_that_are_kept_up_are_there_at_once_and_stay(cloud: RunPodEmulator) -> None:
    endpoint = make(cloud, {**BALANCED, "workers": {"min": 2}}).json()
    cloud.clock.advance(3600)
    cloud.bill()
    summary = ask(cloud, "GET", f"/v2/serverless/{endpoint['id']}/workers").json()["summary"]
    assert (summary["total"], summary["initializing"]) == (2, 2)


def test_a_worker_that_never_answers_is_ended_after_eight_minutes(cloud: RunPodEmulator) -> None:
    endpoint = make(cloud, BALANCED).json()
    assert ask(cloud, "GET", f"/lb/{endpoint['id']}/health").status_code in (400, 502)
    cloud.clock.advance(481)
    cloud.bill()
    assert ask(cloud, "GET", f"/v2/serverless/{endpoint['id']}/workers").json()["workers"] == []


def test_without_money_its_workers_are_ended_and_none_is_woken() -> None:
    with RunPodEmulator(balance_usd=1) as cloud:
        endpoint = make(cloud, {**BALANCED, "workers": {"min": 1}}).json()
        cloud.clock.advance(3600)
        cloud.bill()
        assert ask(cloud, "GET", f"/lb/{endpoint['id']}/health").status_code == 400
        assert ask(cloud, "GET", f"/v2/serverless/{endpoint['id']}/workers").json()["workers"] == []
        assert cloud.billing.usd_per_hour() == 0


def test_without_a_health_port_a_worker_stays_unready() -> None:
    with RunPodEmulator(engine="stub", boot_s=0) as cloud:
        deaf = make(cloud, {**BALANCED, "env": {"PORT": "8000", "HEALTH_CHECK_PATH": "/health"}}).json()
        heard = make(cloud, BALANCED).json()
        for endpoint in (deaf, heard):
            ask(cloud, "GET", f"/lb/{endpoint['id']}/health")
        until(lambda: ask(cloud, "GET", f"/lb/{heard['id']}/health").status_code == 200, 20)
        listening = next(iter(cloud.endpoints)).workers.values()
        until(lambda: all(worker.container and worker.container.port for worker in listening), 20)
        assert ask(cloud, "GET", f"/lb/{deaf['id']}/health").status_code == 502


@pytest.fixture
def s3(cloud: RunPodEmulator) -> Any:
    cloud_volume = {"name": "w", "size": 10, "dataCenter": "EU-RO-1"}
    ask(cloud, "POST", "/v2/network-volumes", cloud_volume)
    return client(cloud, "EU-RO-1")


def client(cloud: RunPodEmulator, region: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"{cloud.url}/s3/eu-ro-1",
        region_name=region,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def test_a_volume_holds_what_is_put_there_over_s3(cloud: RunPodEmulator, s3: Any) -> None:
    (volume,) = cloud.volumes
    s3.put_object(Bucket=volume.id, Key="a folder/file", Body=b"content")
    assert cloud.volumes.s3.files(volume.id) == {"a folder/file": b"content"}
    assert s3.head_object(Bucket=volume.id, Key="a folder/file")["ContentLength"] == 7


def test_what_runpods_s3_lacks_is_refused(cloud: RunPodEmulator, s3: Any) -> None:
    (volume,) = cloud.volumes
    lacking: list[Callable[[], Any]] = [
        lambda: s3.delete_objects(Bucket=volume.id, Delete={"Objects": [{"Key": "a"}]}),
        lambda: s3.create_bucket(Bucket="another"),
        lambda: s3.get_bucket_location(Bucket=volume.id),
        lambda: s3.put_object_tagging(Bucket=volume.id, Key="a", Tagging={"TagSet": []}),
    ]
    for call in lacking:
        with pytest.raises(ClientError):
            call()
    presigned = s3.generate_presigned_url("get_object", Params={"Bucket": volume.id, "Key": "a"})
    assert httpx.get(presigned).status_code == 403


def test_a_volume_is_in_its_own_data_center_only(cloud: RunPodEmulator, s3: Any) -> None:
    (volume,) = cloud.volumes
    with pytest.raises(ClientError):
        client(cloud, "US-KS-2").head_bucket(Bucket=volume.id)
