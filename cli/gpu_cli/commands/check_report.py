"""What checks found, for people and for scripts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gpu_cli.ui.output import Table

if TYPE_CHECKING:  # with the checks comes the `openai` client, which is slow to import
    from gpu_cli.check.finding import Finding

_COLUMNS = ("", "CHECK", "FOUND", "TIME")


def findings_table(findings: "Sequence[Finding]") -> Table:
    """A row each; what failed is told from what nobody promised."""
    return Table(_COLUMNS, tuple(_row(finding) for finding in findings))


def findings_document(findings: "Sequence[Finding]") -> Mapping[str, object]:
    """`ok` is whether all holds that is promised, `failed` what does not."""
    failed = failed_ids(findings)
    return {"ok": not failed, "failed": failed, "checks": [_finding_document(finding) for finding in findings]}


def failed_ids(findings: "Sequence[Finding]") -> list[str]:
    """What is promised and does not hold."""
    from gpu_cli.check.finding import Outcome

    return [finding.check_id for finding in findings if finding.outcome is Outcome.FAILED]


def summary(findings: "Sequence[Finding]") -> str:
    """One line: how many are of each kind, and which."""
    from gpu_cli.check.finding import Outcome

    by_outcome = {outcome: [one.check_id for one in findings if one.outcome is outcome] for outcome in Outcome}
    named = [f"{outcome}: {', '.join(ids)}" for outcome, ids in by_outcome.items() if ids and outcome is not Outcome.OK]
    return "; ".join([f"{len(by_outcome[Outcome.OK])} of {len(findings)} checks hold", *named])


def _row(finding: "Finding") -> tuple[str, ...]:
    from gpu_cli.check.finding import Outcome

    outcome = "FAILS" if finding.outcome is Outcome.FAILED else str(finding.outcome)
    return outcome, finding.check_id, finding.detail, f"{finding.seconds:.1f} s"


def _finding_document(finding: "Finding") -> Mapping[str, object]:
    return {
        "id": finding.check_id,
        "name": finding.name,
        "outcome": str(finding.outcome),
        "promised": finding.promised,
        "detail": finding.detail,
        "seconds": round(finding.seconds, 3),
    }
