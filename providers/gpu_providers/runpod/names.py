"""What an offer's id says, and the pools of cards by which serverless asks for one."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_providers.errors import InvalidRequest

SECURE, COMMUNITY, SERVERLESS = "secure", "community", "serverless"
"""What can be bought, as an offer id says it. The first two are whose machines pods are on: of RunPod's partners' data
centers, or anybody's; the API writes them in upper case."""

_OFFER_ID = re.compile(rf"runpod-({SECURE}|{COMMUNITY}|{SERVERLESS})-([1-9]\d*)x(\S.*)")


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
