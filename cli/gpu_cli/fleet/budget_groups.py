"""One cap on what several deployments cost together: `--budget-group NAME=USD`.

All deployments that ever named the group count, and all that live end when it is used up. Launches that begin at the
same moment do not see each other's price: then what they cost together ends them at the next look.
"""

from collections.abc import Mapping, Sequence

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.store import Store
from gpu_cli.units import format_duration, format_usd, parse_usd


def join(store: Store, text: str) -> str:
    """The name of the group that `NAME` or `NAME=USD` means; with an amount it gets that budget, or this new one.

    Raises UserError BAD_INPUT for what makes no sense, and for a group that nobody has made.
    """
    from gpu_cli.recipe.schema import check_name  # slow to import, and `gpu ls` makes no groups

    name, has_amount, amount = text.partition("=")
    try:
        check_name(name)
        budget_usd = parse_usd(amount) if has_amount else None
    except ValueError as error:
        hint = "write NAME=USD to make one, or NAME to join it: --budget-group pipeline=20"
        raise UserError(Exit.BAD_INPUT, "bad-budget-group", f"--budget-group: {error}", hint=hint) from None
    if budget_usd is not None:
        with store.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO budget_groups VALUES (?, ?)", (name, budget_usd))
    elif name not in budgets_usd(store):
        message = f"there is no budget group {name!r}"
        raise UserError(Exit.BAD_INPUT, "no-budget-group", message, hint=f"say what it may cost: {name}=20")
    return name


def check_room(store: Store, name: str, usd_per_hour: float, *, now: float, shortest_s: float) -> None:
    """Raises UserError LIMIT_REACHED when what is left of a group does not last so long at this price.

    Without a group (an empty name) there is always room.
    """
    if not name or usd_per_hour <= 0:
        return
    left_usd = left_of(store, name, now)
    if left_usd / usd_per_hour * 3600 >= shortest_s:
        return
    raise UserError(
        Exit.LIMIT_REACHED,
        "budget-group",
        f"budget group {name} has {format_usd(max(0.0, left_usd))} left: "
        f"not {format_duration(shortest_s)} at {format_usd(usd_per_hour)}/h",
        hint=f"see what used it up (gpu cost --by group), or raise it (--budget-group {name}=USD)",
    )


def budgets_usd(store: Store) -> Mapping[str, float]:
    """Of all groups, by name."""
    return {row["name"]: row["budget_usd"] for row in store.rows("SELECT name, budget_usd FROM budget_groups")}


def left_of(store: Store, name: str, now: float) -> float:
    """What is left of a group in USD; negative when more was spent. KeyError when there is none of this name."""
    return _left_usd(store, name, budgets_usd(store)[name], store.live(), now)


def ends_at(store: Store, live: Sequence[Deployment], now: float) -> Mapping[str, float]:
    """When each group of those that live is used up at the soonest, by name: not later than now when it is.

    Counted with what each bills at the most; a group that costs nothing has no end.
    """
    ends = dict[str, float]()
    for name, budget_usd in budgets_usd(store).items() if any(one.budget_group for one in live) else ():
        if (usd_per_hour := sum(one.most_usd_per_hour for one in _billing(live, name))) > 0:
            ends[name] = now + _left_usd(store, name, budget_usd, live, now) / usd_per_hour * 3600
    return ends


def end_of(store: Store, deployment: Deployment, now: float) -> float | None:
    """When the budget of its group is used up at the soonest; None where it has no group that could end it."""
    return ends_at(store, store.live(), now).get(deployment.budget_group) if deployment.budget_group else None


def _billing(live: Sequence[Deployment], name: str) -> Sequence[Deployment]:
    return [one for one in live if one.budget_group == name and one.launched_at is not None]


def _left_usd(store: Store, name: str, budget_usd: float, live: Sequence[Deployment], now: float) -> float:
    query = "SELECT TOTAL(metered_usd) FROM deployments WHERE budget_group = ? AND ended_at IS NOT NULL"
    ended_usd: float = store.rows(query, name)[0][0]
    return budget_usd - ended_usd - sum(one.spent_usd(now) for one in _billing(live, name))
