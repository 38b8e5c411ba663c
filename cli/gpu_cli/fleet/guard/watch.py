"""How the guard looks at a deployment, and what it concludes from that."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import STARTING, Deployment
from gpu_cli.fleet.end.reconcile import look, why_end, why_not_booting
from gpu_cli.fleet.end.stops import GUARD_GRACE_S, idle_for_s
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.deeds import Deed, end, see_replaced, see_through
from gpu_cli.fleet.guard.keep_warm import KeepWarm
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.fleet.reach.link import client_for, engine_url
from gpu_cli.fleet.reach.wake import Knock
from gpu_cli.fleet.store import Store
from gpu_cli.locks import is_held
from gpu_cli.ui.output import print_message
from gpu_cli.units import format_duration
from gpu_providers.base import Kind, Resource, ResourceState


class Watch:
    """What is known of the deployments of one cloud from the looks before. Belongs to the thread that makes it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = replace(fleet, store=Store(fleet.store.path).open())
        self._clients: dict[tuple[str, str], EngineClient] = {}
        """By resource name and URL, which a restart may move."""
        self._looks: Counter[str] = Counter()
        self._knocks: dict[str, Knock] = {}
        """At what is started by requests."""
        self._silent_since: dict[str, float] = {}
        """From when on each that was ready has not answered, nor run by the word of its cloud."""
        self._keep_warm = KeepWarm(self._fleet, self._client)

    def attend(self, deployment: Deployment) -> Deed | None:
        """Look at it, and say what has to be done. Its cloud is asked one thing at a time: of a start that nobody
        watches also how its host comes on.
        """
        detached, resource = self._is_detached_start(deployment), None
        self._looks[deployment.resource_name] += 1
        if detached and self._looks[deployment.resource_name] % 2 == 0:
            reason = why_end(self._fleet, deployment, None) or why_not_booting(self._fleet, deployment, print_message)
        else:
            deployment, resource = look(self._fleet, deployment)
            reason = why_end(self._fleet, deployment, resource) or self._why_idle(deployment, resource)
        if reason:
            print_message(f"{deployment.resource_name}: ending it: {reason}")
            return partial(end, deployment=deployment, reason=reason)
        if not deployment.is_live:
            return partial(see_replaced, ended=deployment)  # who began to end it may not have seen it gone
        if detached and engine_url(deployment) and self._is_healthy(deployment):
            return partial(see_through, deployment=deployment)
        if resource and not detached:
            self._keep_warm.attend(deployment, resource)
        return None

    def forget_all_but(self, live: Sequence[Deployment]) -> None:
        """Of all others nothing lives."""
        self._close_clients_but([(one.resource_name, engine_url(one)) for one in live])
        names = {deployment.resource_name for deployment in live}
        self._looks = Counter({name: looks for name, looks in self._looks.items() if name in names})
        self._knocks = {name: knock for name, knock in self._knocks.items() if name in names}
        self._silent_since = {name: since for name, since in self._silent_since.items() if name in names}
        self._keep_warm.forget_all_but(names)

    def close(self) -> None:
        """End its connections."""
        self._close_clients_but(())
        self._fleet.store.close()

    def _is_detached_start(self, deployment: Deployment) -> bool:
        starting = deployment.state in STARTING and not deployment.tied and deployment.resource_id != ""
        return starting and not is_held(self._fleet.launch_lock_path(deployment.name))

    def _why_idle(self, deployment: Deployment, resource: Resource | None) -> str:
        """`idle` when a fresh look says that there has been no work for too long. No answer is not idleness, unless its
        cloud, too, says all that time that it does not run.
        """
        if idle_for_s(deployment, self._fleet.clock.now()) is None or deployment.active_at is None:
            return ""
        try:
            work = self._client(deployment).work()
        except (EngineUnreachable, EngineRefused, UserError):  # the last one without its certificate
            return self._why_lost(deployment, resource)
        self._silent_since.pop(deployment.resource_name, None)
        now = self._fleet.clock.now()
        if work.running or work.waiting or work.done != deployment.work_done:
            self._fleet.store.update(deployment.resource_name, active_at=now, work_done=work.done)
            return ""
        return "idle" if now - deployment.active_at >= deployment.idle_s + GUARD_GRACE_S else ""

    def _why_lost(self, deployment: Deployment, resource: Resource | None) -> str:
        """Of one that does not answer, whose idleness nobody can see: a host that is offline may come back, and bills
        again. It is given as long as it may be idle. A cloud that does not answer either proves nothing.
        """
        name, now = deployment.resource_name, self._fleet.clock.now()
        if resource is None:
            return ""
        if resource.state is ResourceState.RUNNING:
            self._silent_since.pop(name, None)
            return ""
        if now - self._silent_since.setdefault(name, now) < deployment.idle_s + GUARD_GRACE_S:
            return ""
        waited = format_duration(round(deployment.idle_s))
        return f"{deployment.provider} says: {resource.detail}, and it has not answered for {waited}"

    def _is_healthy(self, deployment: Deployment) -> bool:
        """Of one that another machine launched, which has its key or its certificate, that cannot be seen."""
        try:
            client = self._client(deployment)
        except (EngineUnreachable, UserError):
            return False
        if deployment.kind is not Kind.SERVERLESS:
            return client.is_healthy()
        return self._knocks.setdefault(deployment.resource_name, Knock()).is_answered(client)

    def _client(self, deployment: Deployment) -> EngineClient:
        known_as = (deployment.resource_name, engine_url(deployment))
        if known_as not in self._clients:
            key = self._fleet.key_of(deployment)
            if key is None:
                raise EngineUnreachable(f"{deployment.resource_name} has no key on this machine")
            self._clients[known_as] = client_for(self._fleet, deployment, key)
        return self._clients[known_as]

    def _close_clients_but(self, known: Collection[tuple[str, str]]) -> None:
        for known_as in set(self._clients) - set(known):
            self._clients.pop(known_as).__exit__()
