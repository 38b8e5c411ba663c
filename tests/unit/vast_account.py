"""An account at the emulated Vast.ai, for tests: the provider as a user has it, and requests to launch."""

from pathlib import Path
from typing import Any

from emulators.vast import VastEmulator

from gpu_providers.base import LaunchRequest, Offer, ProviderContext, Search, Secret
from gpu_providers.vast.provider import POLL_VARIABLE, VastProvider

IMAGE = "vllm/vllm-openai:v0.32.0"


def provider_at(cloud: VastEmulator, folder: Path, **environ: str) -> VastProvider:
    """The provider, with patience for a cloud on this very machine."""
    return VastProvider(ProviderContext(folder / "vast", {POLL_VARIABLE: "0.1", **cloud.env, **environ}))


def offer_of(provider: VastProvider, gpu: str = "RTX-4090", *, count: int = 1, **search: Any) -> Offer:
    """The cheapest offer of so many of this card."""
    offers = provider.offers(Search(**{"cards": (gpu,), "disk_gib": 60, **search}))
    wanted = [offer for offer in offers if offer.gpu_count == count]
    return min(wanted, key=lambda offer: offer.price_usd_per_hour)


def request_of(offer: Offer, name: str = "gpu-test-1", **changes: Any) -> LaunchRequest:
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
