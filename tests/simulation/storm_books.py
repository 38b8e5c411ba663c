"""What is on record, what the clouds have charged, and whether both come to the same."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from typing import Any

from emulators.cloud import Cloud
from emulators.server import Request, Response
from emulators.spoiling import UNKNOWN
from scheduler import Process
from world import World

from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.store import Store
from gpu_providers.base import Kind

WORKER = " worker"
"""How the bill's lines for workers end, behind the name of their endpoint."""
MOMENT_S = 2.0
CHANGES = 3
"""How often at most what one bills changes: when it has come up, when it is stopped, and at its end."""


class Books:
    """Of one world. Ids are the clouds' own."""

    def __init__(self, world: World) -> None:
        self.made_at: dict[str, float] = {}
        self._world = world
        self._database = world.folder / "gpu" / "state" / "gpu.db"
        self._looks: defaultdict[str, list[tuple[float, Process]]] = defaultdict(list)
        """When a cloud has told of it, and whom."""

    def keep(self, cloud: Cloud) -> None:
        """From now on also of this cloud."""
        start = cloud.billing.start

        def started(cloud_id: str, *arguments: Any) -> None:
            self.made_at[cloud_id] = self._world.scheduler.now
            start(cloud_id, *arguments)

        cloud.billing.start = started  # type: ignore[method-assign]

    def note(self, process: Process, request: Request, response: Response) -> None:
        """What this process has heard from a cloud."""
        if request.method == "GET" and response.status == 200 and _is_told_well(response):
            self._looks[request.path.rstrip("/").rpartition("/")[2]].append((self._world.scheduler.now, process))

    def recorded(self) -> dict[str, Deployment]:
        """All deployments that ever were on record, by resource name."""
        if not self._database.is_file():
            return {}
        with closing(Store(self._database).open()) as store:
            rows = store.rows("SELECT resource_name FROM deployments")
            return {row["resource_name"]: store.get(row["resource_name"]) for row in rows}

    def differences(self) -> Iterator[str]:
        """Where our account of what one has cost is not the cloud's, but for what nobody could know. Of what scales to
        zero only that is known which somebody saw.
        """
        now, billed = self._world.scheduler.now, {resource_name(line): line for line in self._world.bill()}
        for name, one in self.recorded().items():
            if one.kind is Kind.SERVERLESS:
                continue
            line = billed.get(name)
            ours_usd, theirs_usd = one.spent_usd(now), line["usd"] if line else 0.0
            unsure_s = self._unsure_s(one, str(line["id"])) if line else math.inf
            if abs(ours_usd - theirs_usd) > 0.01 * theirs_usd + one.price_usd_per_hour * unsure_s / 3600:
                yield f"ledger: {name} ({one.reason}): ${ours_usd:.6f} by our account, ${theirs_usd:.6f} billed"

    def _unsure_s(self, one: Deployment, cloud_id: str) -> float:
        """How long one side thought that it lived and the other did not, and for how long nobody looked when what it
        bills changed. Who ends it does not look at that.
        """
        (meter,) = (found for cloud in self._world.clouds.values() if (found := cloud.billing._meters.get(cloud_id)))
        made_at, gone_at = self.made_at[cloud_id], meter.since
        end_began_at = min([gone_at, *self._moments(one.resource_name, State.TERMINATING)])
        heard = [at for at, process in self._looks[cloud_id] if at < end_began_at and at + MOMENT_S < process.died_at]
        moments = [made_at, *heard, gone_at]
        unseen_s = sum(sorted(later - sooner for sooner, later in pairwise(moments))[-CHANGES:])
        early_s, late_s = (one.launched_at or made_at) - made_at, (one.ended_at or gone_at) - gone_at
        return abs(early_s) + abs(late_s) + unseen_s + MOMENT_S

    def _moments(self, name: str, state: State) -> list[float]:
        """When it came to this state."""
        with closing(Store(self._database).open()) as store:
            return [event.at for event in store.events(name) if event.state is state]


def resource_name(line: Mapping[str, Any]) -> str:
    """Of a line of a bill."""
    return str(line["name"]).removesuffix(WORKER)


def _is_told_well(response: Response) -> bool:
    """Whether the answer is what the cloud knows."""
    try:
        return isinstance(response.body, bytes) and UNKNOWN not in json.dumps(json.loads(response.body))
    except ValueError:
        return False
