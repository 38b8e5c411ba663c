"""How the clouds boot and bill, by provider and kind: what is known before any start of our own has been measured.

Each row says where it is from. Odds and download rates are priors: an offer that carries its own is taken at its word.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_providers.base import Kind, Offer

ENGINE_IMAGE_GIB = 10.0
"""What is downloaded of vLLM's own image (`vllm/vllm-openai`, 0.2x to 0.3x, compressed)."""

SPOT_ODDS = 0.75
"""That nobody takes a spot machine away during a session of about an hour: a guess; no cloud publishes it."""


@dataclass(frozen=True)
class CloudTerms:
    """What one kind of offer of one cloud is like; the defaults are on the cautious side."""

    boot_s: float = 60.0
    """From the order until it can download, with one GPU."""
    boot_s_several: float = 60.0
    """The same with more than one."""
    boot_is_billed: bool = True
    image_gib: float = ENGINE_IMAGE_GIB
    """Of the engine, downloaded at each start."""
    image_is_billed: bool = True
    """Whether GPUs bill while the image is downloaded."""
    download_mb_per_s: float = 100.0
    billing_step_s: float = 60.0
    """What is begun of this is billed whole."""
    odds: float = 0.85
    """That an accepted order becomes a working machine."""


_UNKNOWN = CloudTerms()
"""Those of somebody's plug-in."""

_TERMS: Mapping[tuple[str, Kind], CloudTerms] = {
    # Bills per second from the answer to the order on (docs.runpod.io, pods/pricing), which says RUNNING for about 50 s
    # before the container is made; large images have taken over 20 minutes on some hosts.
    ("runpod", Kind.POD): CloudTerms(boot_s=50, boot_s_several=50, download_mb_per_s=150, billing_step_s=1, odds=0.93),
    # Bills from a worker's start to its stop, rounded up to the second, the image's download not (serverless/pricing).
    ("runpod", Kind.SERVERLESS): CloudTerms(
        boot_s=10, boot_s_several=10, image_is_billed=False, download_mb_per_s=150, billing_step_s=1, odds=0.95
    ),
    # GPUs bill only in the state `running`, which is after the image (docs.vast.ai, billing); 1 to 5 minutes are
    # typical, over 20 a bad host. Offers measure their own download; 500 Mbit/s is what clients ask for at the least.
    ("vast", Kind.POD): CloudTerms(
        boot_s=90,
        boot_s_several=90,
        boot_is_billed=False,
        image_is_billed=False,
        download_mb_per_s=62.5,
        billing_step_s=1,
    ),
    # Bills by the minute from the health check on; 3 to 5 minutes with one GPU, 10 to 15 with several
    # (docs.lambda.ai). Machines that come up unhealthy, or whose CUDA never initialises, are reported by several users.
    ("lambda", Kind.VM): CloudTerms(
        boot_s=300, boot_s_several=750, boot_is_billed=False, download_mb_per_s=300, odds=0.8
    ),
    # Bills per second while a container exists; containers start in a second, from an image that Modal keeps
    # (modal.com/docs, cold starts and pricing). Until the cards are free nothing bills, and several take longer (GPU
    # acceleration): how long is a guess. Any GPU container may be preempted.
    ("modal", Kind.SERVERLESS): CloudTerms(
        boot_s=5,
        boot_s_several=60,
        boot_is_billed=False,
        image_gib=0,
        download_mb_per_s=300,
        billing_step_s=1,
        odds=0.97,
    ),
    # This machine: nothing is ordered, and the engine is installed beforehand.
    ("local", Kind.PROCESS): CloudTerms(
        boot_s=2, boot_s_several=2, image_gib=0, download_mb_per_s=50, billing_step_s=1, odds=1.0
    ),
}


def terms_of(offer: Offer) -> CloudTerms:
    """Those of its provider and kind, or cautious ones."""
    return _TERMS.get((offer.provider, offer.kind), _UNKNOWN)


def billing_step_s(provider: str, kind: Kind) -> float:
    """What is begun of this is billed whole; a second where nobody knows."""
    terms = _TERMS.get((provider, kind))
    return terms.billing_step_s if terms else 1.0


def odds_of(offer: Offer, terms: CloudTerms) -> float:
    """That it comes up and works: what its cloud measures, where it does."""
    return terms.odds if offer.boot_odds is None else offer.boot_odds
