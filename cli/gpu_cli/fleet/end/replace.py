"""Another deployment in the place of one that its cloud took back (`spot: true`, `when_lost: replace`)."""

import contextlib
import subprocess
import sys
from collections.abc import Collection, Sequence

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.spot import TAKEN_BACK, Terms, spot_recipes
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import guard_log_path
from gpu_cli.locks import Lock, released
from gpu_cli.units import format_duration
from gpu_providers.base import Link
from gpu_providers.errors import ProviderError

MOST_REPLACEMENTS = 3
"""In a row: a cloud that takes back so many has no room at this price."""


def replace_lost(fleet: Fleet, ended: Deployment) -> str:
    """Launch another one, with what is left of its limits, if it was taken back and its recipe wants that.

    To be called with one that is verified gone, by whoever sees that: one of them launches. The launch is a process of
    its own, which outlives this one; what comes back is a line about it, empty where there is nothing to say. Raises
    UserError for a recipe that cannot be read.
    """
    if ended.is_live or not ended.reason.startswith(TAKEN_BACK):
        return ""
    with released(Lock(fleet.paths.state / "locks" / "replacing" / f"{ended.resource_name}.lock")) as lock:
        terms = spot_recipes(fleet).terms_of(ended.resource_name) if lock.try_acquire() else None
        return _replace(fleet, ended, terms, lock) if terms else ""


def replace_all_lost(fleet: Fleet) -> Sequence[str]:
    """As `replace_lost`, for those whose end was written down by a process that was killed before it came to that."""
    known = (fleet.store.last_named(name) for name in spot_recipes(fleet).kept())
    return [said for lost in known if lost and (said := replace_lost(fleet, lost))]


def _replace(fleet: Fleet, ended: Deployment, terms: Terms, lock: Lock) -> str:
    from gpu_cli.recipe.files import load_recipe  # slow to import, and few are replaced

    kept = spot_recipes(fleet)
    recipe_path = kept.recipe_path(ended.resource_name)
    if why_not := _why_not(fleet, ended, terms, load_recipe(recipe_path).when_lost):
        kept.forget(ended.resource_name)
        return f"{ended.name} is not replaced: {why_not}"
    _start(fleet, [str(recipe_path), *_flags(fleet, ended, terms)], lock)
    return f"{ended.name} is being replaced ({terms.replacements + 1} of at most {MOST_REPLACEMENTS})"


def call_off(fleet: Fleet, names: Collection[str]) -> None:
    """Let none come in the place of those of these names that are lost (without names: of any), even where its launch
    is under way. Trouble with the disk keeps nobody from ending the rest.
    """
    kept = spot_recipes(fleet)
    for lost in fleet.store.ended():
        if not names or lost.name in names or lost.resource_name in names:
            with contextlib.suppress(OSError):
                kept.forget(lost.resource_name)


def _why_not(fleet: Fleet, ended: Deployment, terms: Terms, when_lost: str) -> str:
    left_usd = _left_usd(fleet, ended)
    reasons = {
        "its recipe does not ask for that": when_lost != "replace",
        "it belonged to a command (gpu run)": ended.tied,
        "another one of its name lives": fleet.store.find_live(ended.name) is not None,
        f"{MOST_REPLACEMENTS} in a row were taken back": terms.replacements >= MOST_REPLACEMENTS,
        "its time is up": _left_s(fleet, ended) <= 0,
        "its budget is used up": left_usd is not None and left_usd <= 0,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _flags(fleet: Fleet, ended: Deployment, terms: Terms) -> list[str]:
    """Those of `gpu up` that make it what the lost one was."""
    left_usd = _left_usd(fleet, ended)
    start_deadline_s = ended.start_deadline_at - (ended.launched_at or ended.created_at)
    flags = {
        "--name": ended.name,
        "--provider": ended.provider,
        "--idle": format_duration(ended.idle_s),
        "--ttl": format_duration(_left_s(fleet, ended)),
        "--budget": None if left_usd is None else f"{left_usd:.6f}",
        "--max-price": None if terms.max_price_usd_per_hour is None else f"{terms.max_price_usd_per_hour:.6f}",
        "--region": terms.region,
        "--start-deadline": format_duration(start_deadline_s),
        "--boot-deadline": format_duration(terms.boot_deadline_s),
        "--budget-group": ended.budget_group,  # also where that is none: the environment may name one
    }
    given = [word for flag, value in flags.items() if value is not None for word in (flag, value)]
    return [*given, "--direct"] if _is_bare(fleet, ended) else given


def _left_s(fleet: Fleet, ended: Deployment) -> float:
    """Whole seconds until its deadline."""
    return float(int(ended.deadline_at - fleet.clock.now()))


def _left_usd(fleet: Fleet, ended: Deployment) -> float | None:
    if ended.budget_usd is None:
        return None
    return ended.budget_usd - ended.spent_usd(fleet.clock.now())


def _is_bare(fleet: Fleet, ended: Deployment) -> bool:
    """Whether the user wanted plain HTTP where the cloud has nothing better of its own."""
    try:
        return ended.link is Link.DIRECT and fleet.provider(ended.provider).link is not Link.DIRECT
    except ProviderError:
        return False


def _start(fleet: Fleet, arguments: list[str], lock: Lock) -> None:
    """It holds the lock as long as it lives: until then it is being replaced."""
    log = guard_log_path(fleet.paths)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "gpu_cli", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=dict(fleet.environ),
            start_new_session=True,
            pass_fds=[lock.descriptor],
        )
