"""`gpu gc`: remove what is left over."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, show

if TYPE_CHECKING:
    from gpu_cli.fleet.collect import Leftover
    from gpu_cli.fleet.fleet import Fleet


def gc(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Destroy without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left over, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare every cloud with the record, and destroy what nothing wants; asks first."""
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.collect import forget_keys, survey

    with open_here() as fleet:
        found = survey(fleet)
        go = not dry_run and _agreed(found.leftovers, yes)
        removed = _collect_all(fleet, found.leftovers) if go else []
        if not dry_run:
            forget_keys(fleet)
    _check_reached(found.unreached)
    document = {
        "removed": removed,
        "left": [] if go else [_document(leftover) for leftover in found.leftovers],
    }
    messages = [f"{one.resource_name} ({one.provider}): {one.why}" for one in found.leftovers] or [
        "nothing is left over"
    ]
    status = Exit.DONE if dry_run or go or not found.leftovers else Exit.CLEANUP_UNCONFIRMED
    show(Result(document, messages=tuple(messages or ["nothing is left over"]), exit_status=status), as_json=as_json)


def _agreed(leftovers: "Sequence[Leftover]", yes: bool) -> bool:
    if not leftovers or yes:
        return True
    if not sys.stdin.isatty():
        message = f"{len(leftovers)} resources are left over, and there is no terminal to ask on"
        raise UserError(Exit.BAD_INPUT, "not-asked", message, hint="destroy them with --yes, or look with --dry-run")
    names = ", ".join(leftover.resource_name for leftover in leftovers)
    return typer.confirm(f"Destroy {names}? (--yes answers this)", err=True)


def _collect_all(fleet: "Fleet", leftovers: "Sequence[Leftover]") -> list[object]:
    """Every one is tried; raises the UserError that names all that are still there."""
    from gpu_cli.fleet.collect import collect

    removed: list[object] = []
    billing: list[str] = []
    for leftover in leftovers:
        try:
            collect(fleet, leftover)
            removed.append(_document(leftover))
        except UserError as error:
            billing += error.still_billing or (leftover.resource_name,)
    if billing:
        message = f"not confirmed gone: {', '.join(billing)}"
        raise UserError(
            Exit.CLEANUP_UNCONFIRMED, "cleanup-unconfirmed", message, hint="run gpu gc again", still_billing=billing
        )
    return removed


def _check_reached(unreached: Sequence[str]) -> None:
    if unreached:
        message = f"not all clouds could be asked: {'; '.join(unreached)}"
        raise UserError(Exit.CLEANUP_UNCONFIRMED, "not-reached", message, hint="run gpu gc again when they answer")


def _document(leftover: "Leftover") -> dict[str, str]:
    return {"resource_name": leftover.resource_name, "provider": leftover.provider, "why": leftover.why}
