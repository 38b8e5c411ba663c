"""What Vast.ai calls cards, and what an offer's id says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from gpu_providers.errors import InvalidRequest
from gpu_providers.gpus import GPUS, Gpu, canonical

MIB_PER_GIB = 1024
"""Vast.ai's memory sizes are MiB, as nvidia-smi has them, whatever they are called."""

_SOLD = (
    *("A10", "A10g", "A30", "A40", "A100 PCIE", "A100 SXM", "A100 SXM4", "B200", "B300", "GH200 SXM"),
    *("H100 PCIE", "H100 SXM", "H100 NVL", "H200", "H200 NVL", "L4", "L40", "L40S", "Tesla T4", "Tesla V100"),
    *("RTX 3080", "RTX 3080 Ti", "RTX 3090", "RTX 3090 Ti", "RTX 4070 Ti", "RTX 4080", "RTX 4080S"),
    *("RTX 4090", "RTX 4090D", "RTX 5080", "RTX 5090"),
    *("RTX A4000", "RTX A4500", "RTX A5000", "RTX A6000"),
    *("RTX 2000Ada", "RTX 4000Ada", "RTX 4500Ada", "RTX 5000Ada", "RTX 5880Ada", "RTX 6000Ada"),
    *("RTX PRO 4000", "RTX PRO 4500", "RTX PRO 5000"),
    *("RTX PRO 6000", "RTX PRO 6000 WS", "RTX PRO 6000 Max-Q", "RTX PRO 6000 S"),
)
"""The `gpu_name`s of cards that our catalogue has, to the letter: the search knows no other spelling (`vastai` 1.9.1,
data/query.py, and B300, which recorded answers hold and that list lacks)."""

_OFFER_ID = re.compile(r"vast-(spot-)?([1-9]\d*)-([1-9]\d*)x(\S.*)-m([1-9]\d*)")


@dataclass(frozen=True)
class OfferId:
    """What an offer's id says: enough to launch it, and to find it again when Vast.ai has given it a new number."""

    ask_id: int
    """Of the moment: one machine has been seen with three of them within minutes."""
    gpu_count: int
    gpu_name: str
    """To the letter."""
    machine_id: int
    """Stays the same."""
    spot: bool = False

    def __str__(self) -> str:
        spot = "spot-" if self.spot else ""
        return f"vast-{spot}{self.ask_id}-{self.gpu_count}x{self.gpu_name}-m{self.machine_id}"

    @classmethod
    def parse(cls, offer_id: str) -> "OfferId":
        """Raises InvalidRequest for one that is not ours."""
        found = _OFFER_ID.fullmatch(offer_id)
        if not found:
            raise InvalidRequest(
                f"{offer_id!r} is no offer of vast",
                hint="like `vast-1234567-1xH100 SXM-m4711`; `gpu offers --provider vast` lists them",
            )
        spot, ask_id, count, gpu_name, machine_id = found.groups()
        return cls(int(ask_id), int(count), gpu_name, int(machine_id), spot=spot is not None)


@cache
def to_vast(card: str) -> tuple[str, ...]:
    """All names under which a card of our catalogue is sold; empty for one that is not.

    A name may stand for other cards, too: those of another memory size.
    """
    gpu = GPUS.get(card)
    return tuple(name for name in _SOLD if gpu and canonical(name, gpu.memory_gib) is gpu)


def gpu_names(cards: Sequence[str] = ()) -> list[str]:
    """The names of all these cards, or of all that there are."""
    return sorted({name for card in cards or GPUS for name in to_vast(card)})


def from_vast(gpu_name: str, gpu_ram_mib: float | None) -> Gpu | None:
    """The card that is sold under this name with so much memory; None for one that our catalogue lacks."""
    return canonical(gpu_name, None if gpu_ram_mib is None else gpu_ram_mib / MIB_PER_GIB)
