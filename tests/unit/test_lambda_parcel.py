"""What a machine is to run, as one document."""

import json
from dataclasses import replace
from typing import Any

import pytest
from lambda_vm import REQUEST

from gpu_providers.base import Secret
from gpu_providers.errors import InvalidRequest
from gpu_providers.lambda_cloud.parcel import addressed, parcel_of


def content(**changes: Any) -> dict[str, Any]:
    request = replace(REQUEST, **changes)
    return dict(json.loads(parcel_of(request, request.secret_env).reveal()))


def test_it_has_all_that_the_machine_needs_to_know() -> None:
    assert content(volume="weights") == {
        "image": "vllm/vllm-openai:v0.20.0",
        "older_image": "vllm/vllm-openai:v0.20.0-cu129",
        "min_cuda_version": "13.0",
        "entrypoint": ["python3"],
        "command": ["-c", "print(1)"],
        "env": {"GPU_NODE": "e30=", "VLLM_API_KEY": "sesame"},
        "labels": {"name": "gpu-a"},
        "port": 8000,
        "publish": "127.0.0.1",
        "volume": "/lambda/nfs/volume",
        "gpu_count": 1,
        "architecture": "x86_64",
    }


def test_only_a_public_machine_publishes_its_port_to_others() -> None:
    assert content(public=True)["publish"] == "0.0.0.0"


def test_without_a_volume_there_is_nothing_to_mount() -> None:
    assert content()["volume"] == ""


def test_the_instance_is_told_who_it_is() -> None:
    env = json.loads(addressed(parcel_of(REQUEST, {}), "0920582c"))["env"]
    assert env == {"GPU_NODE": "e30=", "GPU_LAMBDA_INSTANCE": "0920582c"}


def test_nobody_sees_what_is_in_it_by_accident() -> None:
    assert "sesame" not in f"{parcel_of(REQUEST, REQUEST.secret_env)!r}"


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\0", "a\udcff", "x" * 65_536])
def test_values_that_docker_cannot_read_from_a_file_are_refused_without_being_told(value: str) -> None:
    with pytest.raises(InvalidRequest, match="the environment variable TOKEN ") as refused:
        parcel_of(REQUEST, {"TOKEN": Secret(value)})
    assert value not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize("name", ["", "A B", "#A", "A=B", "1A"])
def test_names_that_docker_would_read_as_something_else_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name of an environment variable"):
        content(env={name: "1"})
