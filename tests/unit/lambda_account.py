"""What tests of Lambda's API have in common: instance types as it tells them, and an account that need not wait."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emulators.lambda_cloud import LambdaEmulator

from gpu_providers.base import LaunchRequest, Offer, ProviderContext, Search, Secret
from gpu_providers.http import Http
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.pacing import Pace
from gpu_providers.lambda_cloud.provider import POLL_VARIABLE, LambdaProvider

HTTP = Http()
"""Of all tests: certificates take long to load."""


def client_at(url: str, folder: Path, key: str = "secret_test_0123") -> LambdaClient:
    """Asks as often as it likes: its pauses take no time."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return LambdaClient(Secret(key), url, HTTP, Pace(folder, lambda: now[0], sleep))


def instance_type(
    name: str = "gpu_1x_h100_sxm5",
    description: str = "1x H100 (80 GB SXM5)",
    *,
    regions: Sequence[str] = ("us-east-1",),
    **changes: Any,
) -> dict[str, Any]:
    """The entry of one type; `specs` and other fields may be replaced, with None left out."""
    gpus = int(description.partition("x")[0])
    fields = {
        "name": name,
        "description": description,
        "gpu_description": description.partition(" ")[2],
        "price_cents_per_hour": 429 * gpus,
        "specs": {"vcpus": 26 * gpus, "memory_gib": 225 * gpus, "storage_gib": 2816 * gpus, "gpus": gpus},
    }
    free = [{"name": region, "description": "Somewhere, USA"} for region in regions]
    told = {field: value for field, value in {**fields, **changes}.items() if value is not None}
    return {"instance_type": told, "regions_with_capacity_available": free}


def filesystem(id_: str = "398578a2336b49079e74043f0bd2cfe8", name: str = "weights", **changes: Any) -> dict[str, Any]:
    """As the API tells it; with None left out."""
    fields = {
        "id": id_,
        "name": name,
        "mount_point": f"/lambda/nfs/{name}",
        "created": "2026-10-01T10:00:00.000Z",
        "created_by": {"id": "3da5a70a57a7422ea8a7203f98b2198b", "email": "me@example.com", "status": "active"},
        "is_in_use": False,
        "region": {"name": "us-east-3", "description": "Washington DC, USA"},
        "bytes_used": 500 * 2**30,
    }
    return {field: value for field, value in {**fields, **changes}.items() if value is not None}


def provider_at(cloud: LambdaEmulator, folder: Path, **environ: str) -> LambdaProvider:
    """The provider as a user has it, with patience for a cloud on this very machine."""
    return LambdaProvider(ProviderContext(folder / "lambda", {POLL_VARIABLE: "0.1", **cloud.env, **environ}))


def offer_of(provider: LambdaProvider, gpu: str = "H100", *, count: int = 1, **search: Any) -> Offer:
    """One of so many of this card."""
    return next(each for each in provider.offers(Search(**search)) if (each.gpu, each.gpu_count) == (gpu, count))


def request_of(offer: Offer, name: str = "gpu-test-1", **changes: Any) -> LaunchRequest:
    """A launch as the fleet makes it."""
    usual: dict[str, Any] = {
        "image": "vllm/vllm-openai:v0.32.0",
        "entrypoint": ("python3",),
        "command": ("-c", "print('hello world')"),
        "env": {"GPU_SUPERVISOR": "{}"},
        "secret_env": {"VLLM_API_KEY": Secret("sk-of-the-engine")},
        "port": 8000,
        "disk_gib": 60,
        "labels": {"name": "llama", "recipe": "llama-8b", "deadline_at": "1800000000.5"},
        "options": {},
    }
    return LaunchRequest(name=name, offer=offer, **{**usual, **changes})
