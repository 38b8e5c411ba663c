"""What this machine offers, and what `gpu doctor` says about it."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gpu_providers import gpus
from gpu_providers.base import Check, Kind, Offer
from gpu_providers.local import client, nvidia

_LOW_DISK_GIB = 1.0


@dataclass(frozen=True)
class _Usable:
    """Cards of one kind, or why there are none that can be offered."""

    gpu: str = ""
    count: int = 0
    memory_gib: float = 0.0
    trouble: str = ""


def offers(environ: Mapping[str, str], price_usd_per_hour: float, now: datetime) -> Sequence[Offer]:
    """The cards by one, two, four, ... as tensor parallelism wants them, and always the CPU."""
    cards = _usable(nvidia.cards(environ))
    counts = [2**power for power in range(cards.count.bit_length())]
    sold = [*((cards.gpu, count, cards.memory_gib) for count in counts), ("cpu", 0, client.memory_gib())]
    return [
        Offer(
            provider="local",
            kind=Kind.PROCESS,
            offer_id=f"local-{gpu.lower()}" + (f"x{count}" if count else ""),
            gpu=gpu,
            gpu_count=count,
            gpu_memory_gib=memory_gib,
            region="local",
            price_usd_per_hour=price_usd_per_hour,
            price_parts={"machine": price_usd_per_hour},
            prices_as_of=now,
        )
        for gpu, count, memory_gib in sold
    ]


def checks(environ: Mapping[str, str], state_dir: Path) -> Sequence[Check]:
    """Cards, memory and disk. Never raises."""
    return (
        _cards_check(_usable(nvidia.cards(environ))),
        Check("memory", True, f"{client.memory_gib():.1f} GiB"),
        _disk_check(state_dir),
    )


def _usable(found: nvidia.Cards) -> _Usable:
    if not found.cards:
        return _Usable(trouble=found.trouble)
    known = [gpus.canonical(card.name, card.memory_gib) for card in found.cards]
    if None in known:
        return _Usable(trouble=f"the card {found.cards[known.index(None)].name} is not in the catalogue")
    kinds = sorted({gpu.name for gpu in known if gpu})
    if len(kinds) > 1:
        return _Usable(trouble=f"cards of different kinds: {', '.join(kinds)}; choose with CUDA_VISIBLE_DEVICES")
    return _Usable(kinds[0], len(known), min(card.memory_gib for card in found.cards))


def _cards_check(cards: _Usable) -> Check:
    if cards.trouble:
        return Check("GPU", False, cards.trouble, hint="until that is solved only the CPU is offered")
    if not cards.count:
        return Check("GPU", True, "no NVIDIA GPU: the CPU is offered")
    return Check("GPU", True, f"{cards.count} x {cards.gpu}, {cards.memory_gib:.1f} GiB each")


def _disk_check(folder: Path) -> Check:
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free_gib = shutil.disk_usage(existing).free / 2**30
    except OSError as error:
        return Check("disk", False, f"{folder} cannot be read: {error.strerror}")
    enough = free_gib >= _LOW_DISK_GIB
    hint = "" if enough else "free some space: records and logs are written there"
    return Check("disk", enough, f"{free_gib:.1f} GiB free in {existing}", hint=hint)
