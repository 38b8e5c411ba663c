"""What will end each of several deployments, by whom there is at this moment."""

from collections.abc import Mapping, Sequence

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.stops import Stop, stops_of
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.keepers import NO_KEEPERS, keepers
from gpu_cli.fleet.guard.process import guard_lives
from gpu_cli.fleet.money.budget_groups import ends_at


def all_stops(fleet: Fleet, deployments: Sequence[Deployment]) -> Mapping[str, Sequence[Stop]]:
    """By resource name; nothing ends what has ended."""
    kept = keepers(fleet) if any(one.is_live for one in deployments) else NO_KEEPERS
    guarded, keys = guard_lives(fleet.paths), fleet.keys.resource_names()
    groups = ends_at(fleet.store, fleet.store.live(), fleet.clock.now())
    return {
        one.resource_name: stops_of(
            one,
            guard_lives=guarded,
            keepers=kept,
            group_ends_at=groups.get(one.budget_group),
            has_key=one.resource_name in keys,
        )
        for one in deployments
    }
