"""What the user has to know of an offer that was taken, beyond its price an hour."""

from collections.abc import Sequence

from gpu_cli.fleet.launch.fallback_cards import in_words
from gpu_cli.planner.rank import Candidate
from gpu_cli.ui.progress import Progress
from gpu_cli.units import format_usd
from gpu_providers.base import Offer, Provider

LEAST_TOLD_USD = 0.01


def tell_caveats(candidate: Candidate, instead: Sequence[Offer], provider: Provider, progress: Progress) -> None:
    """Each a line; most offers have none."""
    for told in (in_words(candidate.offer, instead), _traffic(candidate), _caveat(provider, candidate)):
        if told:
            progress.note(told)


def _traffic(candidate: Candidate) -> str:
    """What it costs beside its hours; empty where that is nothing to speak of."""
    usd = candidate.session.traffic_usd
    return f"traffic of image and weights: some {format_usd(usd)}, once" if usd >= LEAST_TOLD_USD else ""


def _caveat(provider: Provider, candidate: Candidate) -> str:
    """What to know of an edge that does not wait for ever; empty where there is none."""
    limit_s = provider.first_byte_limit_s(candidate.offer.kind)
    if limit_s is None:
        return ""
    speed = candidate.speed
    tokens = f", some {speed.decode_tokens_per_s_single * limit_s:.0f} tokens here" if speed else ""
    return (
        f"{provider.name} cuts requests that get no byte of an answer for {limit_s:.0f} s: "
        f"stream what takes longer to write{tokens}"
    )
