"""`gpu gc`: remove what is left over."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, print_message, show

if TYPE_CHECKING:
    from gpu_cli.fleet.end.collect import Leftover, Survey
    from gpu_cli.fleet.fleet import Fleet


class Fate(StrEnum):
    """What becomes of something that is left over."""

    DESTROY = "destroy"
    ADOPT = "adopt"
    KEEP = "keep"


@dataclass
class Outcome:
    """What has become of what was left over."""

    removed: "list[Leftover]" = field(default_factory=list)
    adopted: "list[Leftover]" = field(default_factory=list)
    left: "list[Leftover]" = field(default_factory=list)
    errors: list[UserError] = field(default_factory=list)


def gc(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Destroy without asking.")] = False,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Put on record what works and is on no record here; destroy the rest."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left over, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare every cloud with the record, and destroy what nothing wants; asks first."""
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.end.collect import survey

    with open_here() as fleet:
        found = survey(fleet)
        _tell(found)
        if dry_run:
            outcome = Outcome(left=list(found.leftovers))
        else:
            outcome = _dealt_with(fleet, found, _fates(found.leftovers, yes=yes, adopt=adopt))
    document = _document(found, outcome)
    if problem := _problem(found, outcome, document):
        for line in _summary(outcome):
            print_message(line)
        raise problem
    status = Exit.CLEANUP_UNCONFIRMED if outcome.left else Exit.DONE
    show(Result(document, messages=_summary(outcome) or ("nothing is left over",), exit_status=status), as_json=as_json)


def _tell(found: "Survey") -> None:
    """On the way: what is asked about, and what may take its time to go, is to be seen before."""
    for deployment in found.finished:
        print_message(f"{deployment.name} is gone ({deployment.reason})")
    for leftover in found.leftovers:
        print_message(f"{leftover.resource_name} ({leftover.provider}): {leftover.why}{_about(leftover)}")


def _about(leftover: "Leftover") -> str:
    """What it is that no record here tells of."""
    from gpu_cli.commands.stories import price_in_words
    from gpu_cli.fleet.recover import described

    if leftover.resource is None:
        return ""
    deployment = described(leftover.resource, 0.0)
    gpu = f"{deployment.gpu} x{deployment.gpu_count}" if deployment.gpu_count > 1 else deployment.gpu
    told = (deployment.recipe, gpu, price_in_words(deployment), leftover.resource.detail)
    return f"; {', '.join(filter(None, told))}, since {leftover.resource.created_at:%Y-%m-%d %H:%M}"


def _fates(leftovers: "Sequence[Leftover]", *, yes: bool, adopt: bool) -> Sequence[Fate]:
    """Raises UserError where somebody would have to be asked, and there is no terminal."""
    if leftovers and not (yes or adopt or sys.stdin.isatty()):
        message = f"{len(leftovers)} resources are left over, and there is no terminal to ask on"
        hint = "destroy them with --yes, keep what works with --adopt, or look with --dry-run"
        raise UserError(Exit.BAD_INPUT, "not-asked", message, hint=hint)
    return [_fate(leftover, yes=yes, adopt=adopt) for leftover in leftovers]


def _fate(leftover: "Leftover", *, yes: bool, adopt: bool) -> Fate:
    if adopt and leftover.is_adoptable:
        return Fate.ADOPT
    if yes or adopt:
        return Fate.DESTROY
    choices = [fate for fate in Fate if fate is not Fate.ADOPT or leftover.is_adoptable]
    question = f"{leftover.resource_name}: {', '.join(choices)}? (--yes destroys all)"
    while True:
        answer = typer.prompt(question, default=Fate.KEEP.value, err=True).strip().lower()
        if meant := [fate for fate in choices if answer and fate.startswith(answer)]:
            return meant[0]


def _dealt_with(fleet: "Fleet", found: "Survey", fates: Sequence[Fate]) -> Outcome:
    """Every one is tried."""
    from gpu_cli.fleet.end.collect import collect_all, forget_at_clouds, forget_keys
    from gpu_cli.fleet.end.replace import replace_all_lost
    from gpu_cli.fleet.guard.process import ensure_guard
    from gpu_cli.fleet.recover import take_over

    sorted_by = {fate: [one for one, its in zip(found.leftovers, fates, strict=True) if its is fate] for fate in Fate}
    outcome = Outcome(left=sorted_by[Fate.KEEP])
    for leftover in sorted_by[Fate.ADOPT]:
        if leftover.resource:
            take_over(fleet, leftover.resource)
            outcome.adopted.append(leftover)
    doomed = sorted_by[Fate.DESTROY]
    for leftover, error in zip(doomed, collect_all(fleet, doomed), strict=True):
        if error:
            outcome.errors.append(error)
        (outcome.left if error else outcome.removed).append(leftover)
    for said in replace_all_lost(fleet):
        print_message(said)
    forget_keys(fleet)
    outcome.left += forget_at_clouds(fleet, found.inventory)
    if fleet.store.live():
        ensure_guard(fleet)
    return outcome


def _problem(found: "Survey", outcome: Outcome, document: Mapping[str, object]) -> UserError | None:
    """Why nobody can say that nothing is left over."""
    unconfirmed, unreached = [error.message for error in outcome.errors], found.inventory.unreached
    silent = [f"not all clouds could be asked: {found.inventory.unreached_in_words()}"] if unreached else []
    if not (unconfirmed or silent):
        return None
    return UserError(
        Exit.CLEANUP_UNCONFIRMED,
        "cleanup-unconfirmed" if unconfirmed else "not-reached",
        "; ".join([*unconfirmed, *silent]),
        hint="run gpu gc again" if unconfirmed else "run gpu gc again when they answer",
        still_billing=[name for error in outcome.errors for name in error.still_billing],
        document=document,
    )


def _summary(outcome: Outcome) -> tuple[str, ...]:
    told = {
        "destroyed": outcome.removed,
        "on record from now on": outcome.adopted,
        "still there": outcome.left,
    }
    lines = [f"{what}: {', '.join(one.resource_name for one in those)}" for what, those in told.items() if those]
    return tuple(lines)


def _document(found: "Survey", outcome: Outcome) -> Mapping[str, object]:
    return {
        "removed": [_told(one) for one in outcome.removed],
        "adopted": [_told(one) for one in outcome.adopted],
        "finished": [
            {"resource_name": one.resource_name, "provider": one.provider, "why": one.reason} for one in found.finished
        ],
        "left": [_told(one) for one in outcome.left],
        "unreached": [{"provider": name, "error": why} for name, why in found.inventory.unreached.items()],
    }


def _told(leftover: "Leftover") -> Mapping[str, str]:
    return {"resource_name": leftover.resource_name, "provider": leftover.provider, "why": leftover.why}
