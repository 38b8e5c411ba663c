"""Instances: what is asked of those that were ordered. Half of it Lambda knows, the other half their machines."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from gpu_providers.base import Boot, Resource
from gpu_providers.errors import HostFailed, NotFound, ProviderError, ProviderUnavailable
from gpu_providers.lambda_cloud import instance_answers, set_up
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.firewall import open_to
from gpu_providers.lambda_cloud.instance_answers import UNHEALTHY, age_order, is_ending, is_named, is_ours
from gpu_providers.lambda_cloud.logs import machine_log
from gpu_providers.lambda_cloud.machines import Machine, Machines
from gpu_providers.values import Json, id_of, text

_STRANGER = "nothing is known here of this machine, so nobody can log in to it"
_ASK_THERE = "ask from where it was launched"


@dataclass(frozen=True)
class Instances:
    """The account's instances."""

    client: LambdaClient
    machines: Machines

    def find(self, name: str) -> Resource | None:
        """The newest of this name."""
        named = [one for one in self.client.instances() if is_named(one, name) and not is_ending(one)]
        return self._asked(max(named, key=age_order)) if named else None

    def all(self) -> Sequence[Resource]:
        """Ours, by their tags or by what is known of them here, and no others. Their machines are not asked."""
        living = [one for one in self.client.instances() if not is_ending(one)]
        known = [(one, self._known(one)) for one in living]
        return [_resource(one, machine) for one, machine in known if machine or is_ours(one)]

    def describe(self, resource_id: str) -> Resource:
        """Raises NotFound."""
        return self._asked(self._living(resource_id))

    def boot(self, resource_id: str) -> Boot:
        """Sets its machine up, a step at a time. Raises as the contract's `boot`."""
        instance = self._living(resource_id)
        return replace(self._boot(instance), price_usd_per_hour=instance_answers.usd_per_hour(instance))

    def _boot(self, instance: Json) -> Boot:
        status, machine = text(instance, "status"), self._known(instance)
        if machine is None:
            raise ProviderUnavailable(_STRANGER, hint=_ASK_THERE)
        if status == UNHEALTHY and not machine.service_url:
            raise HostFailed("Lambda calls the machine unhealthy")
        if not machine.address:
            return Boot(running=False, detail=f"{status}, without an address yet")
        let_in = partial(open_to, self.client, machine.ruleset_id, machine.service_port)
        return set_up.boot(self.machines, machine, time.time(), open_to=let_in)

    def log(
        self, resource_id: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
    ) -> Iterator[str]:
        """What the machine's set-up and its container have printed. Raises as the contract's `logs`."""
        machine = self._known(self._living(resource_id))
        if machine is None:
            raise ProviderUnavailable(_STRANGER, hint=_ASK_THERE)
        gone = _Gone(self, resource_id, poll_s)
        yield from machine_log(
            self.machines, machine.name, tail=tail, follow=follow, stop=lambda: stop() or gone.is_seen(), poll_s=poll_s
        )

    def is_gone(self, resource_id: str) -> bool:
        """By Lambda's own word; False when there is none."""
        try:
            self._living(resource_id)
        except ProviderError as error:
            return isinstance(error, NotFound)
        return False

    def _known(self, instance: Json) -> Machine | None:
        """What this side knows of its machine, with what Lambda has told since; None where that is nothing."""
        instance_id, machine = id_of(instance), self.machines.get(text(instance, "name"))
        if machine is None or machine.instance_id not in ("", instance_id):
            return None
        told = replace(machine, instance_id=instance_id, address=text(instance, "ip").strip() or machine.address)
        with suppress(OSError, ProviderError):  # not kept, it is told again the next time
            self.machines.update(machine.name, instance_id=told.instance_id, address=told.address)
        return told

    def _living(self, resource_id: str) -> Json:
        instance = self.client.instance(resource_id)
        if is_ending(instance):
            raise NotFound(f"Lambda says that instance {resource_id} is {text(instance, 'status')}")
        return instance

    def _asked(self, instance: Json) -> Resource:
        """As its machine knows it, once that can be asked."""
        machine = self._known(instance)
        ended = set_up.container_end(self.machines, machine) if machine and machine.service_url else ""
        return _resource(instance, machine, ended)


class _Gone:
    """Whether an instance is gone, asked no more often than one may."""

    def __init__(self, instances: Instances, resource_id: str, every_s: float) -> None:
        self._instances = instances
        self._resource_id = resource_id
        self._every_s = every_s
        self._asked_at = time.monotonic()

    def is_seen(self) -> bool:
        if time.monotonic() - self._asked_at < self._every_s:
            return False
        gone = self._instances.is_gone(self._resource_id)
        self._asked_at = time.monotonic()
        return gone


def _resource(instance: Json, machine: Machine | None, container_end: str = "") -> Resource:
    return instance_answers.resource(instance, machine, container_end, datetime.now(UTC))
