"""A deployment: what `gpu up` made, from the plan to its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gpu_providers.base import Kind, Link


class State(StrEnum):
    """Where a deployment is in its life; the first seven may hold something that bills."""

    PLANNED = "planned"
    """On record; nothing has been asked of a cloud."""
    LAUNCHING = "launching"
    """A create may be on its way: the cloud has to be searched for the resource name."""
    BOOTING = "booting"
    """The cloud accepted it."""
    LOADING = "loading"
    """The engine runs and loads."""
    READY = "ready"
    """A completion came back, and its stops were confirmed."""
    DRAINING = "draining"
    """It takes no new work and will be terminated."""
    TERMINATING = "terminating"
    """It is being destroyed; not gone until the cloud says so."""
    GONE = "gone"
    FAILED = "failed"
    """It never became ready or died; gone all the same."""


LIVE = frozenset(State) - {State.GONE, State.FAILED}
STARTING = frozenset({State.PLANNED, State.LAUNCHING, State.BOOTING, State.LOADING})

NEXT_STATES: Mapping[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.LAUNCHING, State.TERMINATING, State.FAILED, State.GONE}),
    State.LAUNCHING: frozenset({State.BOOTING, State.TERMINATING, State.FAILED, State.GONE}),
    State.BOOTING: frozenset({State.LOADING, State.TERMINATING, State.FAILED, State.GONE}),
    State.LOADING: frozenset({State.READY, State.TERMINATING, State.FAILED, State.GONE}),
    State.READY: frozenset({State.DRAINING, State.TERMINATING, State.FAILED, State.GONE}),
    State.DRAINING: frozenset({State.TERMINATING, State.FAILED, State.GONE}),
    State.TERMINATING: frozenset({State.FAILED, State.GONE}),
    State.GONE: frozenset(),
    State.FAILED: frozenset(),
}


ON_REQUEST = "gpu down"
COMMAND_ENDED = "its command ended"
ABANDONED = "the command that launched it was killed"
ENDED_OUTSIDE = "ended outside gpu"
BROKEN = "its supervisor died"
ORDERLY_ENDS = frozenset(
    {"idle", "deadline", "budget", "terminated", ON_REQUEST, COMMAND_ENDED, ABANDONED, ENDED_OUTSIDE}
)
"""Reasons that are no failure of a deployment that was ready."""


@dataclass(frozen=True)
class Deployment:
    """One row of the store. Times are seconds since the epoch, UTC; prices are for the whole deployment.

    `resource_name` is unique for ever and known to the cloud; `name` is the user's and unique among the living.
    """

    resource_name: str
    name: str
    recipe: str
    recipe_digest: str
    state: State
    provider: str
    kind: Kind
    gpu: str
    gpu_count: int
    region: str
    model: str
    """The name under which the engine serves it."""
    price_usd_per_hour: float
    idle_s: float
    deadline_at: float
    start_deadline_at: float
    budget_usd: float | None
    created_at: float
    resource_id: str = ""
    endpoint: str = ""
    """Root URL, without `/v1`; empty until the cloud has told it."""
    launched_at: float | None = None
    """When it may have begun to bill."""
    ready_at: float | None = None
    ended_at: float | None = None
    active_at: float | None = None
    """When work was last seen; None before it was ready."""
    work_done: float = 0.0
    """The engine's own count of work when it was last read; a change means that there was some."""
    tied: bool = True
    """It lives only as long as the process that launched it (which holds its lock): set until `up` is done with it."""
    own_stop_armed: bool = False
    """What ends it without this side confirmed its limits: the supervisor on the node, or the cloud's idle timeout."""
    account: str = ""
    """With which account of the provider it was launched (`Provider.account`)."""
    most_workers: int = 1
    """How many at most can bill at once, each at `price_usd_per_hour`."""
    metered_usd: float | None = None
    """For what scales to zero: what its workers have cost as far as it was watched; None where time is what costs."""
    metered_at: float | None = None
    link: Link = Link.DIRECT
    """How this side reaches its endpoint."""
    local_port: int | None = None
    """Of loopback, from where the guard forwards to the endpoint; None for a direct link, and until it has one."""
    host: str = ""
    """The physical machine, where the cloud tells them apart."""
    reason: str = ""
    """Why it ended, or what is wrong with it."""
    rate_usd_per_hour: float | None = None
    """What it bills at this moment, where its cloud says so: less than the price where booting is free."""
    budget_group: str = ""
    """The group whose budget it shares with others; empty for none."""
    failure: str = ""
    """Of which kind of failure its start ended (`fleet.policy`): `no-capacity`, `host-failed`, …; empty for none."""

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes; empty until there is one."""
        if self.link is Link.DIRECT:
            return f"{self.endpoint}/v1" if self.endpoint else ""
        return f"http://127.0.0.1:{self.local_port}/v1" if self.local_port else ""

    @property
    def is_live(self) -> bool:
        """It may hold something that bills."""
        return self.state in LIVE

    def end_state(self) -> State:
        """What it has come to, now that nothing of it is left: whoever writes that down says the same.

        What ended before it was ready has failed, unless the user ended it.
        """
        if self.reason == ON_REQUEST or (self.ready_at is not None and self.reason in ORDERLY_ENDS):
            return State.GONE
        return State.FAILED

    def spent_usd(self, now: float) -> float:
        """Price x time from the launch to its end or to now; of what scales to zero, what was metered."""
        if self.metered_usd is not None:
            return self.metered_usd
        if self.launched_at is None:
            return 0.0
        hours = max(0.0, (self.ended_at or now) - self.launched_at) / 3600
        return hours * self.price_usd_per_hour

    def budget_ends_at(self) -> float | None:
        """When its budget is used up at the soonest; None when it has none, costs nothing or bills nothing yet."""
        if self.budget_usd is None or self.launched_at is None or self.price_usd_per_hour <= 0:
            return None
        start, left_usd = self.launched_at, self.budget_usd
        if self.metered_usd is not None and self.metered_at is not None:
            start, left_usd = self.metered_at, self.budget_usd - self.metered_usd
        return start + left_usd / (self.price_usd_per_hour * self.most_workers) * 3600
