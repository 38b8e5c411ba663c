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
    name, budget_usd = _meant(store, text)
    if "=" in text:
        with store.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO budget_groups VALUES (?, ?)", (name, budget_usd))
    return name


def check_room(store: Store, name: str, usd_per_hour: float, *, now: float, shortest_s: float) -> None:
    """Raises UserError LIMIT_REACHED when what is left of a group does not last so long at this price.

    Without a group (an empty name) there is always room.
    """
    if name and usd_per_hour > 0:
        _check_lasts(name, left_of(store, name, now), usd_per_hour, shortest_s)


def room_if_joined(store: Store, text: str, usd_per_hour: float, *, now: float, shortest_s: float) -> float:
    """What would be left of the group in USD, were it joined; nothing is written. Raises as `join` and `check_room`."""
    name, budget_usd = _meant(store, text)
    left_usd = _left_usd(store, name, budget_usd, store.live(), now)
    if usd_per_hour > 0:
        _check_lasts(name, left_usd, usd_per_hour, shortest_s)
    return left_usd


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


def _meant(store: Store, text: str) -> tuple[str, float]:
    """The name of a group, and the budget that it has or is to have. Raises as `join`."""
    from gpu_cli.recipe.schema import check_name  # slow to import, and `gpu ls` makes no groups

    name, has_amount, amount = text.partition("=")
    try:
        check_name(name)
        if has_amount:
            return name, parse_usd(amount)
    except ValueError as error:
        hint = "write NAME=USD to make one, or NAME to join it: --budget-group pipeline=20"
        raise UserError(Exit.BAD_INPUT, "bad-budget-group", f"--budget-group: {error}", hint=hint) from None
    if (budget_usd := budgets_usd(store).get(name)) is None:
        message = f"there is no budget group {name!r}"
        raise UserError(Exit.BAD_INPUT, "no-budget-group", message, hint=f"say what it may cost: {name}=20")
    return name, budget_usd


def _check_lasts(name: str, left_usd: float, usd_per_hour: float, shortest_s: float) -> None:
    if left_usd / usd_per_hour * 3600 >= shortest_s:
        return
    raise UserError(
        Exit.LIMIT_REACHED,
        "budget-group",
        f"budget group {name} has {format_usd(max(0.0, left_usd))} left: "
        f"not {format_duration(shortest_s)} at {format_usd(usd_per_hour)}/h",
        hint=f"see what used it up (gpu cost --by group), or raise it (--budget-group {name}=USD)",
    )


def _billing(live: Sequence[Deployment], name: str) -> Sequence[Deployment]:
    return [one for one in live if one.budget_group == name and one.launched_at is not None]


def _left_usd(store: Store, name: str, budget_usd: float, live: Sequence[Deployment], now: float) -> float:
    """One that has ended since `live` was read is among those, and counts once."""
    query = "SELECT resource_name, metered_usd FROM deployments WHERE budget_group = ? AND ended_at IS NOT NULL"
    living = {one.resource_name for one in live}
    ended_usd = sum(row["metered_usd"] or 0.0 for row in store.rows(query, name) if row["resource_name"] not in living)
    return budget_usd - ended_usd - sum(one.spent_usd(now) for one in _billing(live, name))
