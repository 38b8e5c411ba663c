"""What is on record, what the clouds have charged, and whether both come to the same."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from emulators.cloud import Cloud
from emulators.server import Request, Response
from emulators.spoiling import UNKNOWN
from scheduler import Process
from world import World

from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.store import Store
from gpu_cli.planner.offers.cloud_terms import billing_step_s
from gpu_providers.base import Kind

WORKER = " worker"
"""How the bill's lines for workers end, behind the name of their endpoint."""
LISTS = ("pods", "instances")
MOMENT_S = 1.0
ROUNDING = 0.001


class Books:
    """Of one world. Ids are the clouds' own."""

    def __init__(self, world: World) -> None:
        self.made_at: dict[str, float] = {}
        self.lost: set[str] = set()
        """Names of what lived when the record was lost: what it has cost until then is not known any more."""
        self._world = world
        self._database = world.folder / "gpu" / "state" / "gpu.db"
        self._looks: defaultdict[str, list[tuple[float, Process]]] = defaultdict(list)
        """When a cloud has told of it, and whom."""
        self._missed: defaultdict[str, list[tuple[float, Process]]] = defaultdict(list)
        """When a list has lacked it: by their ids alone nothing counts as gone."""
        self._changed_at: defaultdict[str, list[float]] = defaultdict(list)
        """When what it bills has changed, but for its begin and its end."""

    def keep(self, cloud: Cloud) -> None:
        """From now on also of this cloud."""
        bill = cloud.billing
        start, rate, charge = bill.start, bill.rate, bill.charge

        def started(cloud_id: str, *arguments: Any) -> None:
            self.made_at[cloud_id] = self._world.scheduler.now
            start(cloud_id, *arguments)

        def rated(cloud_id: str, usd_per_hour: float) -> None:
            if usd_per_hour != bill._meters[cloud_id].usd_per_hour:
                self._changed_at[cloud_id].append(self._world.scheduler.now)
            rate(cloud_id, usd_per_hour)

        def charged(cloud_id: str, usd: float) -> None:
            if usd and not self._changed_at[cloud_id]:
                self._changed_at[cloud_id].append(self._world.scheduler.now)
            charge(cloud_id, usd)

        bill.start, bill.rate, bill.charge = started, rated, charged  # type: ignore[method-assign]

    def note(self, process: Process, request: Request, response: Response) -> None:
        """What this process has heard from a cloud."""
        if request.method != "GET" or response.status not in (200, 404) or not _is_told_well(response):
            return
        look, asked = (self._world.scheduler.now, process), request.path.rstrip("/").rpartition("/")[2]
        if asked in self.made_at:
            self._looks[asked].append(look)
        elif asked in LISTS and response.status == 200:
            for cloud_id in self.made_at:
                if cloud_id.encode() not in response.body:  # type: ignore[operator]
                    self._missed[cloud_id].append(look)

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
            if one.kind is Kind.SERVERLESS or name in self.lost:
                continue
            line = billed.get(name)
            ours_usd, theirs_usd = one.spent_usd(now), line["usd"] if line else 0.0
            unsure_s = self._unsure_s(one, str(line["id"])) if line else math.inf
            if abs(ours_usd - theirs_usd) > ROUNDING * theirs_usd + one.price_usd_per_hour * unsure_s / 3600:
                yield f"ledger: {name} ({one.reason}): ${ours_usd:.6f} by our account, ${theirs_usd:.6f} billed"

    def _unsure_s(self, one: Deployment, cloud_id: str) -> float:
        """How much of its time nobody could know to be billed, or not: from the last look before a change to the first
        after it. Of a cloud that bills in steps, as much as that may come to in steps.
        """
        (meter,) = (found for cloud in self._world.clouds.values() if (found := cloud.billing._meters.get(cloud_id)))
        made_at, gone_at, changed_at = self.made_at[cloud_id], meter.since, self._changed_at[cloud_id]
        end_began_at = min([gone_at, *self._moments(one.resource_name, State.TERMINATING)])
        heard = [made_at, *(at for at in _heard(self._looks[cloud_id]) if at < end_began_at)]
        noticed_at = self._noticed_at(one, cloud_id, gone_at)
        step_s = billing_step_s(one.provider, one.kind)
        if len(heard) == 1:
            return _in_steps(0.0, noticed_at - min(made_at, one.launched_at or made_at) + MOMENT_S, step_s)
        gaps = {_around([*heard, noticed_at], moment) for moment in changed_at if moment <= gone_at}
        own_end = [end_began_at] if end_began_at < gone_at else []
        gaps.add(_around([*heard, *own_end, noticed_at], gone_at))
        late_s = abs((one.launched_at or made_at) - made_at)
        unsure_s = late_s + sum(later - sooner for sooner, later in gaps) + MOMENT_S * (1 + len(gaps))
        return _in_steps(gone_at - min([*changed_at[:1], gone_at]), unsure_s, step_s)

    def _noticed_at(self, one: Deployment, cloud_id: str, gone_at: float) -> float:
        """When somebody who asked for it could see that it is gone: by its id, and by a list that lacks it.

        Of one whose id was never known here nobody can tell whether it has ended, or is not listed yet.
        """
        asked_at = min((at for at in _heard(self._looks[cloud_id]) if at >= gone_at), default=math.inf)
        missed = [at for at in _heard(self._missed[cloud_id]) if at >= asked_at and one.resource_id]
        return min([*missed, max(gone_at, one.ended_at or gone_at)])

    def _moments(self, name: str, state: State) -> list[float]:
        """When it came to this state."""
        with closing(Store(self._database).open()) as store:
            return [event.at for event in store.events(name) if event.state is state]


def resource_name(line: Mapping[str, Any]) -> str:
    """Of a line of a bill."""
    return str(line["name"]).removesuffix(WORKER)


def _heard(looks: Sequence[tuple[float, Process]]) -> Sequence[float]:
    """When, but for those whose word nobody has lived to write down."""
    return [at for at, process in looks if at + MOMENT_S < process.died_at]


def _in_steps(billed_s: float, unsure_s: float, step_s: float) -> float:
    """How far a bill of whole steps may be from the right one."""
    least, right, most = (math.ceil(s / step_s) * step_s for s in (billed_s - unsure_s, billed_s, billed_s + unsure_s))
    return max(right - least, most - right)


def _around(looks: Sequence[float], moment: float) -> tuple[float, float]:
    """The last of them before, and the first after it."""
    sooner, later = [at for at in looks if at < moment], [at for at in looks if at >= moment]
    return (max(sooner, default=moment), min(later, default=moment))


def _is_told_well(response: Response) -> bool:
    """Whether the answer is what the cloud knows."""
    try:
        return isinstance(response.body, bytes) and UNKNOWN not in json.dumps(json.loads(response.body))
    except ValueError:
        return False
