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
LOST_RACE = "lost the race"
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
    """What it has cost until `metered_at`, which is what the ledger has of it; None before the first look."""
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
    """What it billed when it was last looked at: less than the price where booting is free; None before that."""
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

        What ended before it was ready has failed, unless the user ended it, or another one was kept in its place.
        """
        if self.reason in (ON_REQUEST, LOST_RACE) or (self.ready_at is not None and self.reason in ORDERLY_ENDS):
            return State.GONE
        return State.FAILED

    def spent_usd(self, now: float) -> float:
        """What was metered, and what it is taken to have billed since then, until its end or now."""
        hours = max(0.0, (self.ended_at or now) - self.metered_until(now)) / 3600
        return (self.metered_usd or 0.0) + hours * self.current_usd_per_hour

    @property
    def current_usd_per_hour(self) -> float:
        """What it is taken to bill since the last look: what it did then.

        For what scales to zero that is nothing: its workers come and go unseen, and are metered by who looks.
        """
        if self.launched_at is None or self.kind is Kind.SERVERLESS:
            return 0.0
        return self.price_usd_per_hour if self.rate_usd_per_hour is None else self.rate_usd_per_hour

    def metered_until(self, now: float) -> float:
        """Up to when `metered_usd` counts; `now` for one that bills nothing yet."""
        return next(known for known in (self.metered_at, self.launched_at, now) if known is not None)

    def budget_ends_at(self) -> float | None:
        """When its budget is used up at the soonest; None when it has none, costs nothing or bills nothing yet."""
        if self.budget_usd is None or self.launched_at is None or self.price_usd_per_hour <= 0:
            return None
        left_usd = self.budget_usd - (self.metered_usd or 0.0)
        return self.metered_until(self.launched_at) + left_usd / self.most_usd_per_hour * 3600

    @property
    def most_usd_per_hour(self) -> float:
        """What it bills at the most: its price, or that of all workers that may run at once."""
        return self.price_usd_per_hour * self.most_workers
