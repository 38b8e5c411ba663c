"""A look at the purse before a launch: clouds end what runs when an account is empty."""

from collections.abc import Sequence

from gpu_cli.fleet.fleet import Fleet
from gpu_cli.planner.rank import Candidate
from gpu_cli.ui.progress import Progress
from gpu_cli.units import format_usd


def warn_of_balance(fleet: Fleet, candidates: Sequence[Candidate], progress: Progress) -> None:
    """Tell of an account that does not pay for an hour of the first candidate; only a warning, whatever it says."""
    offer = candidates[0].offer
    if offer.price_usd_per_hour <= 0:
        return
    balance_usd = fleet.provider(offer.provider).balance_usd()
    if balance_usd is None or balance_usd >= offer.price_usd_per_hour:
        return
    progress.note(
        f"{offer.provider}: {format_usd(balance_usd)} left on the account, less than an hour at "
        f"{format_usd(offer.price_usd_per_hour)}/h; it ends what runs when there is nothing left"
    )
