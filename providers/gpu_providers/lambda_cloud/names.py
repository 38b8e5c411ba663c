"""What Lambda calls cards and processors, and what an offer's id says."""

import re
from dataclasses import dataclass

from gpu_providers.errors import InvalidRequest
from gpu_providers.gpus import Gpu, canonical

_DESCRIPTION = re.compile(r"([1-9]\d?)x (.+?) \((\d{1,4}) GB(?: (.+))?\)", re.ASCII)
_FORM = re.compile(r"sxm\d*|pcie|nvl", re.IGNORECASE)
_ARM = re.compile(r"g[hb][23]00", re.IGNORECASE)
_OFFER_ID = re.compile(r"lambda-([^\s@]+)@([^\s@]+)")


@dataclass(frozen=True)
class OfferId:
    """What an offer's id says: all that it takes to launch it."""

    type_name: str
    """To the letter."""
    region: str

    def __str__(self) -> str:
        return f"lambda-{self.type_name}@{self.region}"

    @classmethod
    def parse(cls, offer_id: str) -> "OfferId":
        """Raises InvalidRequest for one that is not ours."""
        found = _OFFER_ID.fullmatch(offer_id)
        if not found:
            raise InvalidRequest(
                f"{offer_id!r} is no offer of lambda",
                hint="like `lambda-gpu_1x_h100_sxm5@us-east-1`; `gpu offers --provider lambda` lists them",
            )
        return cls(*found.groups())


def card_of(description: str, type_name: str) -> tuple[Gpu, int] | None:
    """The card of an instance type and how many of it; None for one without GPUs and for cards that we do not know.

    How much memory a card has is only in the description, `8x H100 (80 GB SXM5)`, and its form there or in the name of
    the type: the API has no fields for them (its OpenAPI document, 1.10.0).
    """
    found = _DESCRIPTION.fullmatch(description.strip())
    if not found:
        return None
    count, card, memory_gb, tail = found.groups()
    form = _FORM.search(f"{tail or ''} {type_name}")
    gpu = _card(card, form[0] if form else "", float(memory_gb))
    return (gpu, int(count)) if gpu else None


def architecture(type_name: str) -> str:
    """`arm64` for what has a Grace processor, else `x86_64`, as images are marked; types say so by their name only."""
    return "arm64" if _ARM.search(type_name) else "x86_64"


def _card(card: str, form: str, memory_gib: float) -> Gpu | None:
    """By its name with the form; without, where the catalogue has it in no other: `A10 (24 GB PCIe)`."""
    plain = canonical(card, memory_gib)
    if plain and form and plain.link.all_to_all != form.lower().startswith("sxm"):
        plain = None
    return canonical(f"{card} {form}", memory_gib) or plain
