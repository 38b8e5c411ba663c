"""Who ends what cannot end itself once this machine sleeps or is off, and what has to be said where nobody does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.away.record import CLOUD, Away, recorded, seen
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.unit import is_installed
from gpu_cli.ui.progress import Progress
from gpu_providers.base import Kind, Offer
from gpu_providers.errors import ProviderError

if TYPE_CHECKING:  # `gpu ls` plans nothing
    from gpu_cli.planner.rank import Candidate
    from gpu_cli.recipe.schema import Recipe

NEEDS_KEEPER = frozenset({Kind.POD, Kind.VM})
"""Nothing but a request to their cloud ends their bill: processes end with this machine, and what scales to zero costs
nothing without work."""


@dataclass(frozen=True)
class Keepers:
    """The hands of this user that hold beyond the guard that a command starts."""

    installed: bool
    """The guard of this machine is a service: it comes back after a crash, and with the next login."""
    away: str
    """Where a guard is that does not need this machine (`modal`); empty for nowhere."""
    trouble: str = ""
    """That it is not at work, or does not hear from here what is in use; empty when all is well."""

    def watched_away(self, provider: str) -> bool:
        """Whether that guard ends what has to end at this cloud."""
        return self.away != "" and provider == CLOUD

    def keep(self, provider: str) -> bool:
        """Whether one of them ends what has to end at this cloud."""
        return self.installed or self.watched_away(provider)


NO_KEEPERS = Keepers(installed=False, away="")


def keepers(fleet: Fleet) -> Keepers:
    """Those that reach what this command reaches, and were at work when they were last seen."""
    away, sight, is_service = recorded(fleet.paths), seen(fleet.paths), is_installed(fleet)
    if away is None or not is_of_this_account(fleet, away):
        return Keepers(is_service, away="")
    return Keepers(is_service, away.on if sight.at_work else "", sight.problem)


def is_of_this_account(fleet: Fleet, away: Away) -> bool:
    """Whether it has a key of the account that this command uses."""
    try:
        return fleet.provider(CLOUD).account() == away.account
    except ProviderError:
        return False


def check_kept(
    fleet: Fleet, recipe: "Recipe", candidates: "Sequence[Candidate]", progress: Progress, *, accepted: bool
) -> "Sequence[Candidate]":
    """The candidates that may be launched: without keepers those that end themselves, unless the user has `accepted`
    that, by saying how long it may live or that it is all right.

    Raises UserError BAD_INPUT `nothing-ends-it` when none is left.
    """
    if accepted:
        return candidates
    hands = _keepers_now(fleet, candidates, progress)

    def is_kept(offer: Offer) -> bool:
        return hands.keep(offer.provider) or _ends_itself(fleet, recipe, offer)

    kept = [candidate for candidate in candidates if is_kept(candidate.offer)]
    left_out = dict.fromkeys(one.offer.provider for one in candidates if one not in kept)
    if not left_out:
        return candidates
    clouds = " and ".join(left_out)
    why = f"machines of {clouds} cannot end themselves, and bill on while this machine sleeps or is off"
    away = ", gpu guard deploy --on modal" if CLOUD in left_out else ""
    hint = f"say --ttl 4h, or --yes, or have it watched: gpu guard install{away}"
    if not kept:
        raise UserError(Exit.BAD_INPUT, "nothing-ends-it", why, hint=hint)
    progress.note(f"left out: {why} ({hint})")
    return kept


def _keepers_now(fleet: Fleet, candidates: "Sequence[Candidate]", progress: Progress) -> Keepers:
    """Where it hangs on the guard at Modal, that is asked for whether it is at work: somebody may have stopped it."""
    hands = keepers(fleet)
    if hands.installed or not any(hands.watched_away(one.offer.provider) for one in candidates):
        return hands
    from gpu_cli.fleet.away.deploy import look

    try:
        look(fleet)
    except UserError as error:
        progress.note(f"whether the guard at Modal is at work cannot be told: {error.message}")
        return NO_KEEPERS
    return keepers(fleet)


def _ends_itself(fleet: Fleet, recipe: "Recipe", offer: Offer) -> bool:
    if offer.kind not in NEEDS_KEEPER:
        return True
    return fleet.provider(offer.provider).self_destruction(recipe.providers.get(offer.provider, {})) is not None
