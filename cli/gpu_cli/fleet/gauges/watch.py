"""Looking at the engines of all that live, time and again."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.gauges.readings import Gauges, GpuMemory, Reading, gauges_of
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.fleet.reach.link import client_for, engine_url
from gpu_providers.base import Kind
from gpu_providers.errors import ProviderError
from gpu_providers.in_parallel import together

PATIENCE_S = 2.0
"""How long a look waits for engines that do not answer, where somebody watches."""
LONGEST_PROBLEM = 100
"""Characters: a line of a table."""
NO_ANSWER = "its engine does not answer"


@dataclass(frozen=True)
class _Told:
    """By one engine, at one look."""

    reading: Reading | None = None
    memory: GpuMemory | None = None
    problem: str = ""


class Watch:
    """What is known from the look before, and the connections. For one thread at a time, whichever it is."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._clients: dict[tuple[str, str], EngineClient] = {}
        """By resource name and URL, which a restart may move."""
        self._asking: set[str] = set()
        """Whose answer has not come: such an engine is not asked a second time meanwhile."""
        self._answers: dict[str, _Told] = {}
        """That no look has taken yet: of engines that are busy they come late."""
        self._before: dict[str, Reading] = {}

    def look(self, patience_s: float = PATIENCE_S) -> Sequence[Gauges]:
        """Everything that lives, in the order of the record. Engines are asked together, and waited for so long at the
        most: it never raises for what one of them does or does not say.
        """
        with self._fleet.apart() as fleet:
            live = fleet.store.live()
        asked = {one.resource_name: one for one in live if _can_be_asked(one)}
        self._forget_all_but(asked)
        work = {name: partial(self._ask, one) for name, one in asked.items() if name not in self._asking}
        self._asking |= set(work)
        together(work, str, patience_s=patience_s)
        gauges = [self._gauges(one) if one.resource_name in asked else self._nothing_of(one) for one in live]
        self._before.update({one.deployment.resource_name: one.reading for one in gauges if one.reading})
        return gauges

    def close(self) -> None:
        """End its connections."""
        self._forget_all_but({})

    def _gauges(self, deployment: Deployment) -> Gauges:
        told = self._answers.pop(deployment.resource_name, _Told(problem=NO_ANSWER))
        if told.reading is None:
            return self._nothing_of(deployment, told.problem)
        return gauges_of(deployment, self._before.get(deployment.resource_name), told.reading, told.memory)

    def _nothing_of(self, deployment: Deployment, problem: str = "") -> Gauges:
        return Gauges(deployment, self._fleet.clock.now(), problem=problem)

    def _ask(self, deployment: Deployment) -> None:
        """In a thread of its own."""
        name = deployment.resource_name
        try:
            self._answers[name] = self._told_by(deployment)
        finally:
            self._asking.discard(name)

    def _told_by(self, deployment: Deployment) -> _Told:
        try:
            client = self._client(deployment)
            return _Told(client.reading(self._fleet.clock.now), _memory(client))
        except EngineUnreachable:
            return _Told(problem=NO_ANSWER)
        except (EngineRefused, UserError, ProviderError) as error:
            return _Told(problem=" ".join(str(error).split())[:LONGEST_PROBLEM])

    def _client(self, deployment: Deployment) -> EngineClient:
        known_as = (deployment.resource_name, engine_url(deployment))
        if known_as not in self._clients:
            key = self._fleet.key_of(deployment)
            if key is None:
                raise EngineRefused("its key is not on this machine")
            self._clients[known_as] = client_for(self._fleet, deployment, key)
        return self._clients[known_as]

    def _forget_all_but(self, asked: Mapping[str, Deployment]) -> None:
        """Of all others nothing can be asked any more."""
        for known_as in set(self._clients) - {(name, engine_url(one)) for name, one in asked.items()}:
            self._clients.pop(known_as).__exit__()
        self._before = {name: reading for name, reading in self._before.items() if name in asked}
        for name in set(self._answers) - set(asked):
            self._answers.pop(name)


def _can_be_asked(deployment: Deployment) -> bool:
    """Whether that wakes nothing, and keeps nothing from being ended."""
    return deployment.state is State.READY and deployment.kind is not Kind.SERVERLESS


def _memory(client: EngineClient) -> GpuMemory | None:
    """As the supervisor on its node tells it; None where there is none, or no card."""
    status: Mapping[str, object] = {}
    with suppress(EngineUnreachable, EngineRefused):
        status = client.supervisor()
    used, total = status.get("gpu_memory_used_gib"), status.get("gpu_memory_total_gib")
    return GpuMemory(used, total) if isinstance(used, float) and isinstance(total, float) else None
