"""Vast.ai's instances: their life and their price.

What the sources say, and this does:
- The graphics cards bill while the status is running (or frozen), the disk as long as the instance exists and its host
  is online, the traffic by the byte (vast-ai/docs, "Billing").
- The status is null, created, loading, running; once the command has ended it is exited, and stays so (docs, "Hello
  world"; skypilot-org/skypilot, `provision/vast`).
- Who is outbid is stopped: all three states are, the disk stays and bills (dstackai/dstack#4037).
- Without credit everything is stopped; so it is at the end of the contract.
- The key that an instance gets shows, stops and ends this instance, and nothing else (docs, "Hello world").
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..container_log import Log
from ..container_spec import Boot, State
from ..containers import Container
from ..lifetime import Lifetime
from . import bodies
from .asks import DAY_S, Ask
from .box import container_spec

if TYPE_CHECKING:
    from .emulator import VastEmulator

RUNNING, STOPPED, EXITED, LOADING = "running", "stopped", "exited", "loading"
BILLED = (RUNNING, "frozen")
OFFLINE = "offline"
ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Terms:
    """What was agreed when an instance was made."""

    ask: Ask
    body: Mapping[str, Any]
    disk_gb: float
    end_at: float
    """Seconds since 1970 on the cloud's clock, like all times here."""
    risen: float = 1.0
    """By what its host has multiplied the price since."""

    @property
    def is_bid(self) -> bool:
        return self.body.get("price") is not None

    @property
    def base_usd(self) -> float:
        """Per hour, without the disk."""
        return float(self.body["price"]) if self.is_bid else self.ask.base_usd * self.risen

    @property
    def disk_usd(self) -> float:
        """Per hour."""
        return self.ask.storage_usd(self.disk_gb)


@dataclass
class Instance(Lifetime):
    """One instance."""

    id: int
    key: str
    terms: Terms
    label: str | None
    boot: Boot
    started_at: float = 0.0
    intended_status: str = STOPPED
    cur_state: str = STOPPED
    next_state: str = STOPPED
    told_status: str | None = None
    """What the status is whatever the container does."""
    container: Container | None = None
    log: Log | None = None
    """Of its last container."""
    host_ports: dict[str, int] = field(default_factory=dict)
    """Of this machine, by `8000/tcp`."""
    redirected: int | None = None
    """A port of this machine that its ports lead to instead of the container."""
    fates: list[tuple[float, Callable[["Instance"], None]]] = field(default_factory=list)
    """What happens to it, and when."""
    hidden_until: dict[str, float] = field(default_factory=dict)
    """From `get` and from `list`."""
    key_dies: bool = False
    """With the instance."""
    billed_usd: float = 0.0
    """Per hour, of late."""

    def actual_status(self, now: float) -> str | None:
        if self.told_status:
            return self.told_status
        state = self.container.state() if self.container else State.REMOVED
        if state is not State.CREATING:
            return RUNNING if state is State.RUNNING else EXITED
        done = (now - self.started_at) / self.boot.pull_s if self.boot.pull_s else 1.0
        return None if done < 0.2 else "created" if done < 0.4 else LOADING

    def usd_per_hour(self, now: float) -> float:
        status = self.actual_status(now)
        gpu_usd = self.terms.base_usd if status in BILLED else 0.0
        return 0.0 if status == OFFLINE else gpu_usd + self.terms.disk_usd

    def behind(self) -> int | None:
        """The port of this machine that its own lead to, if there is one."""
        return self.redirected or (self.container.local_port if self.container else None)

    def is_hidden(self, where: str, now: float) -> bool:
        return now < self.hidden_until.get(where, 0.0)


class Instances:
    """All instances of the account. Its methods are called under the cloud's lock."""

    def __init__(self, cloud: "VastEmulator") -> None:
        self._cloud = cloud
        self._instances: dict[int, Instance] = {}

    def __iter__(self) -> Iterator[Instance]:
        """Those that exist, the oldest first."""
        return (instance for instance in self._instances.values() if instance.gone_at is None)

    def on_record(self) -> Iterator[Instance]:
        """Those that ever were, the oldest first."""
        return iter(self._instances.values())

    def get(self, id: str) -> Instance | None:  # noqa: A002
        """The instance as it is shown alone."""
        instance, now = self._instances.get(int(id)) if id.isdecimal() else None, self._cloud.clock.now()
        return instance if instance and instance.is_shown(now) and not instance.is_hidden("get", now) else None

    def listed(self, lag_s: float = 0.0) -> list[Instance]:
        """As by a list that lags behind."""
        now = self._cloud.clock.now()
        return [one for one in self._instances.values() if one.is_listed(now, lag_s) and not one.is_hidden("list", now)]

    def named(self, name: str | int) -> Instance:
        """The newest that exists with that label or id. Raises LookupError."""
        found = [instance for instance in self if name in (instance.label, instance.id, str(instance.id))]
        if not found:
            raise LookupError(f"there is no instance {name}")
        return found[-1]

    def by_key(self, key: str) -> Instance | None:
        """The instance whose own key this is, be it gone; None for a key that died with it."""
        owner = next((instance for instance in self._instances.values() if instance.key == key), None)
        return None if owner and owner.gone_at is not None and owner.key_dies else owner

    def create(self, ask: Ask, body: Mapping[str, Any], disk_gb: float, boot: Boot) -> Instance:
        """One more, stopped: nothing but its disk costs."""
        now = self._cloud.clock.now()
        terms = Terms(ask, body, disk_gb, now + ask.machine.days * DAY_S)
        instance = Instance(
            id=max(self._instances, default=secrets.randbelow(10**6) + 30_000_000) + 1,
            key=secrets.token_hex(32),
            terms=terms,
            label=body.get("label"),
            boot=boot,
            created_at=now,
            billed_usd=terms.disk_usd,
        )
        self._instances[instance.id] = instance
        self._cloud.billing.start(str(instance.id), instance.label or "", instance.billed_usd)
        return instance

    def start(self, instance: Instance) -> None:
        """Its slice has to be free."""
        self._cloud.asks.take(instance.terms.ask)
        for port, protocol in bodies.ports(instance.terms.body):
            if protocol == "tcp" and instance.terms.ask.machine.ports:
                instance.host_ports[f"{port}/tcp"] = self._cloud.forwards.open(instance.behind)
        spec = container_spec(instance.id, instance.terms.body, self._injected(instance))
        instance.container = self._cloud.run(spec, instance.boot)
        instance.log = instance.container.log
        instance.started_at, instance.told_status = self._cloud.clock.now(), None
        instance.intended_status = instance.cur_state = instance.next_state = RUNNING
        self._cloud.billing.charge(str(instance.id), self._cloud.image_gb * instance.terms.ask.machine.down_usd)

    def _injected(self, instance: Instance) -> dict[str, str]:
        gpu = instance.terms.ask.machine.gpu_name
        no_key = self._cloud.misbehaviour.take("no-container-key", call="create", gpu=gpu)
        ports = {f"VAST_TCP_PORT_{name.partition('/')[0]}": str(port) for name, port in instance.host_ports.items()}
        return {
            "CONTAINER_ID": str(instance.id),
            **({} if no_key else {"CONTAINER_API_KEY": instance.key}),
            "CONTAINER_LABEL": instance.label or f"C.{instance.id}",
            "VAST_CONTAINERLABEL": f"C.{instance.id}",
            "PUBLIC_IPADDR": ADDRESS,
            "GPU_COUNT": str(instance.terms.ask.gpus),
            "DATA_DIRECTORY": "/workspace",
            **ports,
        }

    def stop(self, instance: Instance) -> None:
        """It keeps its disk, and costs that."""
        self._end_container(instance)
        instance.intended_status = instance.cur_state = instance.next_state = STOPPED

    def raise_price(self, instance: Instance, factor: float) -> None:
        """From now on; a bid stays what it is."""
        instance.terms = replace(instance.terms, risen=factor)
        self._bill(instance, self._cloud.clock.now())

    def host_stops(self, instance: Instance) -> None:
        """Nobody said so; the status is as it was, unless something ran."""
        status = instance.actual_status(self._cloud.clock.now())
        self._end_container(instance)
        instance.told_status = EXITED if status == RUNNING else status or LOADING
        instance.intended_status = instance.next_state = STOPPED

    def become(self, instance: Instance, status: str) -> None:
        """That status, and nothing runs any more."""
        self._end_container(instance)
        instance.told_status = status

    def destroy(self, instance: Instance, shown_for_s: float = 0.0) -> None:
        self._end_container(instance)
        instance.end(self._cloud.clock.now(), shown_for_s)
        self._cloud.billing.stop(str(instance.id))

    def _end_container(self, instance: Instance) -> None:
        if instance.container:
            instance.container.stop()
            self._cloud.asks.give_back(instance.terms.ask)
        instance.container = None
        while instance.host_ports:
            self._cloud.forwards.close(instance.host_ports.popitem()[1])

    def tick(self) -> None:
        """Lets fates, ends of contracts and an empty account have their way, and bills what runs."""
        now, broke = self._cloud.clock.now(), self._cloud.billing.balance_usd() <= 0
        for instance in self:
            due = [fate for at, fate in instance.fates if at <= now]
            instance.fates = [(at, fate) for at, fate in instance.fates if at > now]
            for fate in due:
                fate(instance)
            if instance.container and (broke or now >= instance.terms.end_at):
                self.stop(instance)
            self._bill(instance, now)

    def _bill(self, instance: Instance, now: float) -> None:
        usd = instance.usd_per_hour(now)
        if usd != instance.billed_usd:
            instance.billed_usd = usd
            self._cloud.billing.rate(str(instance.id), usd)
