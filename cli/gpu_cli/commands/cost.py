"""`gpu cost`: what was spent, by our own account of price x time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.commands.since import Since, since_at
from gpu_cli.fleet.money.ledger import By
from gpu_cli.ui.output import Result, Table, show

if TYPE_CHECKING:
    from gpu_cli.fleet.money.ledger import Cost


def cost(
    since: Since = None,
    by: Annotated[By, typer.Option("--by", help="What is added up to one line.")] = By.RECIPE,
    as_json: AsJson = False,
) -> None:
    """Show what was spent: the prices of what was rented, for as long as it was billed."""
    from gpu_cli.commands.documents import iso
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.money.budget_groups import budgets_usd
    from gpu_cli.fleet.money.ledger import costs, entries_since
    from gpu_cli.units import format_usd

    with open_here() as fleet:
        now = fleet.clock.now()
        began_at = since_at(since, now)
        rows = costs(entries_since(fleet.store, began_at or 0.0, now), by)
        budgets = budgets_usd(fleet.store) if by is By.GROUP else {}
    total_usd = sum(row.usd for row in rows)
    document = {
        "since": iso(began_at),
        "by": str(by),
        "total_usd": round(total_usd, 6),
        "rows": [_document(row, budgets) for row in rows],
    }
    total = ("in all", format_usd(total_usd), f"{sum(row.hours for row in rows):.2f}", "")
    table = Table((by.upper(), "SPENT", "HOURS", "DEPLOYMENTS"), (*(_row(row, budgets) for row in rows), total))
    messages = () if rows else ("nothing was spent",)
    show(Result(document, table=table if rows else None, messages=messages), as_json=as_json)


def _document(row: "Cost", budgets_usd: Mapping[str, float]) -> Mapping[str, object]:
    """Of a group also what it may cost."""
    told = {"key": row.key, "usd": round(row.usd, 6), "hours": round(row.hours, 4), "deployments": row.deployments}
    return {**told, "budget_usd": budgets_usd[row.key]} if row.key in budgets_usd else told


def _row(row: "Cost", budgets_usd: Mapping[str, float]) -> tuple[str, ...]:
    from gpu_cli.units import format_usd

    of = f" of {format_usd(budgets_usd[row.key])}" if row.key in budgets_usd else ""
    return row.key or "-", f"{format_usd(row.usd)}{of}", f"{row.hours:.2f}", str(row.deployments)
