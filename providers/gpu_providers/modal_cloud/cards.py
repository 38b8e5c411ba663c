"""What Modal calls the cards of our catalogue, and how many of one come in a container (modal.com/docs, guide/gpu)."""

from collections.abc import Mapping
from dataclasses import dataclass

COUNTS = (1, 2, 4, 8)
"""As tensor parallelism wants them."""


@dataclass(frozen=True)
class Card:
    """One that Modal rents out."""

    gpu_type: str
    """What is asked for, so that no other card comes in its place."""
    rate_key: str
    """Under which Modal tells the price of one for an hour."""
    most: int = 8
    """In one container."""
    min_cuda_version: str = ""
    """Of the image; empty where any will do."""


CARDS: Mapping[str, Card] = {
    "T4": Card("T4", "gpu_hour_cost_t4"),
    "L4": Card("L4", "gpu_hour_cost_l4"),
    "A10": Card("A10", "gpu_hour_cost_a10g", most=4),
    "L40S": Card("L40S", "gpu_hour_cost_l40s"),
    "A100-40GB": Card("A100-40GB", "gpu_hour_cost_a100_40gb"),
    "A100-80GB": Card("A100-80GB", "gpu_hour_cost_a100_80gb"),
    # Modal's page on GPUs names it apart from those of which a container has up to 8: one is what is certain.
    "RTX-PRO-6000-SERVER": Card("RTX-PRO-6000", "gpu_hour_cost_rtx6000", most=1),
    # Without the mark an H200 may come instead: the engine was sized, and its price compared, for an H100.
    "H100": Card("H100!", "gpu_hour_cost_h100"),
    "H200": Card("H200", "gpu_hour_cost_h200"),
    "B200": Card("B200", "gpu_hour_cost_b200"),
    "B300": Card("B300", "gpu_hour_cost_b300", min_cuda_version="13.1"),
}
"""By canonical name."""

_OTHER_TYPES = {"A10G": "A10", "A100": "A100-40GB"}
"""Former and short names of Modal's."""


def gpu_string(card: str, count: int) -> str:
    """What the SDK takes for `gpu`: `H100!`, `A100-80GB:2`. Raises KeyError for a card that is not Modal's."""
    gpu_type = CARDS[card].gpu_type
    return gpu_type if count == 1 else f"{gpu_type}:{count}"


def rate_key(card: str) -> str:
    """Under which Modal tells the price of one for an hour. Raises KeyError for a card that is not Modal's."""
    return CARDS[card].rate_key


def canonical_of(modal_gpu_type: str) -> str:
    """Our name of a card that Modal says a container has, `H100` or `H100!`; empty for one that we do not know."""
    return _CANONICAL.get(_bare(modal_gpu_type), "")


def _bare(gpu_type: str) -> str:
    """Without the mark that asks for exactly this card, or for this one or a newer one."""
    return gpu_type.strip().upper().rstrip("!+")


_CANONICAL = {_bare(card.gpu_type): name for name, card in CARDS.items()} | _OTHER_TYPES
