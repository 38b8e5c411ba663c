"""An account at the emulated RunPod, for tests: the provider as a user has it, and requests to launch."""

from pathlib import Path
from typing import Any

from emulators.runpod import RunPodEmulator

from gpu_providers.base import LaunchRequest, Offer, ProviderContext, Search, Secret
from gpu_providers.runpod.provider import POLL_VARIABLE, RunPodProvider

H100, RTX_4090 = "NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090"
IMAGE = "vllm/vllm-openai:v0.32.0"


def provider_at(cloud: RunPodEmulator, folder: Path, **environ: str) -> RunPodProvider:
    """The provider, with patience for a cloud on this very machine."""
    return RunPodProvider(ProviderContext(folder / "runpod", {POLL_VARIABLE: "0.1", **cloud.env, **environ}))


def offer_of(provider: RunPodProvider, gpu_id: str = RTX_4090, *, count: int = 1, **search: Any) -> Offer:
    """The offer of so many of this card; of several clouds the cheapest."""
    offers = provider.offers(Search(**search))
    wanted = [offer for offer in offers if offer.offer_id.endswith(f"-{count}x{gpu_id}")]
    return min(wanted, key=lambda offer: offer.price_usd_per_hour)


def pod_request(offer: Offer, name: str = "gpu-test-1", **changes: Any) -> LaunchRequest:
    """A launch as the fleet makes it."""
    usual: dict[str, Any] = {
        "image": IMAGE,
        "entrypoint": ("python3",),
        "command": ("-c", "print('hello world')"),
        "env": {"GPU_SUPERVISOR": "{}"},
        "secret_env": {"VLLM_API_KEY": Secret("sk-of-the-engine")},
        "port": 8000,
        "disk_gib": 60,
        "labels": {"recipe": "llama", "deadline_at": "1800000000.5"},
        "options": {},
    }
    return LaunchRequest(name=name, offer=offer, **{**usual, **changes})
