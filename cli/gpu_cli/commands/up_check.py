"""`gpu up --check`: what does not do what its recipe promises is not handed over."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from gpu_cli.commands.check_report import failed_ids, findings_document, findings_table
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import print_table

if TYPE_CHECKING:  # slow to import, and only with --check
    from gpu_cli.check.finding import Finding
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet
    from gpu_cli.fleet.launch.launch import Wanted
    from gpu_cli.ui.progress import Progress


@contextmanager
def checks_told_in_the_end(findings: "list[Finding]") -> Iterator[None]:
    """People get the table on stderr, whatever came of it; scripts get `check` with every error."""
    try:
        yield
    except UserError as error:
        error.document = {**error.document, **check_document(findings)}
        raise
    finally:
        if findings:
            print_table(findings_table(findings))


def check_document(findings: "Sequence[Finding]") -> Mapping[str, object]:
    """What scripts get, where anything was checked."""
    return {"check": findings_document(findings)} if findings else {}


def check_start(
    fleet: "Fleet",
    wanted: "Wanted",
    deployment: "Deployment",
    *,
    ours: bool,
    progress: "Progress",
    findings: "list[Finding]",
) -> "Deployment":
    """The deployment, once all holds that its recipe promises. `findings` gets what is found on the way.

    One that is `ours` is tied to this process until then, and torn down if it does not; another one is left as it is.
    Raises UserError NEVER_HEALTHY `check-failed`.
    """
    from gpu_cli.fleet.launch.start import cleaned_up, still_wanted

    progress.stage("check")
    with cleaned_up(fleet, deployment, progress) if ours else nullcontext():
        findings += _findings(fleet, wanted, deployment, progress)
        if failed := failed_ids(findings):
            raise _breach(deployment, failed, ours=ours)
        if ours:
            fleet.store.update(deployment.resource_name, tied=False)
        return still_wanted(fleet, deployment.resource_name)


def _findings(fleet: "Fleet", wanted: "Wanted", deployment: "Deployment", progress: "Progress") -> "Iterator[Finding]":
    from gpu_cli.check.promises import promises_of
    from gpu_cli.check.run import run_checks
    from gpu_cli.check.target import USUAL_TRIES, reached
    from gpu_cli.commands.check import wake_up
    from gpu_cli.commands.here import the_key

    promises = promises_of(wanted.recipe, plain_http=wanted.direct)
    key = the_key(fleet, deployment)
    wake_up(fleet, deployment, key)
    with reached(deployment.base_url, key, deployment.model, promises, repeat=USUAL_TRIES) as target:
        yield from run_checks(target, told=progress.detail)


def _breach(deployment: "Deployment", failed: "Sequence[str]", *, ours: bool) -> UserError:
    name = deployment.name
    message = f"{name} does not do what its recipe promises: {', '.join(failed)}"
    ended = f"it was ended again; to look into it, start it without --check: gpu check {name}, gpu logs {name}"
    hint = ended if ours else f"it was up before, and is left as it is; end it: gpu down {name}"
    return UserError(Exit.NEVER_HEALTHY, "check-failed", message, hint=hint)
