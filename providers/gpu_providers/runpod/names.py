"""RunPod's spellings: GPU ids, offer ids, pools of cards for serverless."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_providers import gpus
from gpu_providers.errors import InvalidRequest
from gpu_providers.gpus import Gpu

SECURE, COMMUNITY, SERVERLESS = "secure", "community", "serverless"
"""What can be bought, as an offer id says it. A pod's `cloud` is the first two in upper case."""

_OFFER_ID = re.compile(rf"runpod-({SECURE}|{COMMUNITY}|{SERVERLESS})-([1-9]\d*)x(\S.*)")


def gpu_of(gpu_id: str, memory_gb: float | None = None) -> Gpu | None:
    """The card behind a GPU id of the catalogue (`NVIDIA H100 80GB HBM3`) and its `memory`.

    None for a card that we do not know and for a slice of one (`… MIG 1g.24gb`).
    """
    return gpus.canonical(gpu_id, memory_gb)


@dataclass(frozen=True)
class OfferId:
    """What an offer's id says: enough to launch it."""

    cloud: str
    """SECURE, COMMUNITY or SERVERLESS."""
    gpu_count: int
    gpu_id: str
    """Exactly as in the catalogue."""

    def __str__(self) -> str:
        return f"runpod-{self.cloud}-{self.gpu_count}x{self.gpu_id}"

    @classmethod
    def parse(cls, offer_id: str) -> "OfferId":
        """Raises InvalidRequest for one that is not ours."""
        found = _OFFER_ID.fullmatch(offer_id)
        if not found:
            raise InvalidRequest(
                f"{offer_id!r} is no offer of runpod",
                hint="like `runpod-secure-1xNVIDIA H100 80GB HBM3`; `gpu offers --provider runpod` lists them",
            )
        return cls(found[1], int(found[2]), found[3])


@dataclass(frozen=True)
class Pool:
    """How a serverless endpoint asks for one type of card: by its pool, less the other types in there."""

    pool_id: str
    excluded_types: tuple[str, ...]


def pool_of(gpu_id: str, catalogue: Iterable[Mapping[str, Any]]) -> Pool | None:
    """The pool of this card in the catalogue's GPU types; None for a card that serverless does not have."""
    pools = {str(entry["id"]): entry.get("pool") for entry in catalogue if entry.get("id")}
    pool = pools.get(gpu_id)
    if not pool:
        return None
    return Pool(str(pool), tuple(sorted(other for other in pools if pools[other] == pool and other != gpu_id)))
