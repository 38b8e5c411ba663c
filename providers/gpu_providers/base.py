"""The provider contract: what every cloud promises to the fleet.

A provider is asked for offers and launches one; it finds, describes, terminates and reads the logs of
resources. It runs "this command with this environment, port and disk on these GPUs" and knows nothing else.

Calls are synchronous; the fleet makes them from a thread pool, so a provider keeps no state between calls that
is not safe to share. Constructors store, methods work.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from gpu_providers.errors import CommandCrashed

RESOURCE_PREFIX = "gpu-"
"""Every resource that we make has a name that begins with this; nothing else is ever touched."""


class Kind(StrEnum):
    """What is rented, and so who starts and stops it."""

    POD = "pod"
    VM = "vm"
    SERVERLESS = "serverless"
    PROCESS = "process"


class Link(StrEnum):
    """How the user's side reaches endpoints, so that nobody on the way can listen or answer in their place."""

    DIRECT = "direct"
    """By their own URL: the cloud's edge has TLS, or it is this machine."""
    TLS = "tls"
    """They are bare ports on the internet: the engine brings TLS, with a certificate made for this deployment alone."""
    SSH = "ssh"
    """They are ports of the machine's own loopback: through its SSH server (`Provider.ssh`)."""


class ResourceState(StrEnum):
    """What a cloud says of a resource that exists. One that does not is `NotFound`, never a state."""

    STARTING = "starting"
    """Accepted, and may already bill; the command does not run yet."""
    RUNNING = "running"
    """The command runs. This says nothing about whether it is healthy."""
    BROKEN = "broken"
    """It exists and may bill, and will not work again by itself."""


@dataclass(frozen=True)
class Secret:
    """A value that must not be seen: its text form is masked, so it cannot slip into a log or an error."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """The value itself, for the one place that has to send it."""
        return self._value

    def __str__(self) -> str:
        return "***"


@dataclass(frozen=True)
class ProviderContext:
    """What a provider may use of the user's side."""

    state_dir: Path
    """A folder of this provider's own; it may not exist yet."""
    environ: Mapping[str, str]
    """The environment variables: credentials and, in tests, where the cloud is."""


@dataclass(frozen=True)
class Offer:
    """What a cloud sells now. `price_usd_per_hour` is for the whole offer, all GPUs."""

    provider: str
    kind: Kind
    offer_id: str
    gpu: str
    """Canonical name of the card, or `cpu`."""
    gpu_count: int
    """0 for an offer without a GPU."""
    gpu_memory_gib: float
    """Memory of ONE card as sold."""
    region: str
    price_usd_per_hour: float
    price_parts: Mapping[str, float]
    """USD per hour by part; they add up to `price_usd_per_hour`."""
    prices_as_of: datetime
    """When the cloud said so, UTC; the epoch for a price of unknown age."""
    interruptible: bool = False
    """Spot: the cloud may take it back at any time."""
    bandwidth_mb_per_s: float | None = None
    """What it downloads with, 10^6 bytes/s, where the cloud measures that."""
    boot_odds: float | None = None
    """The odds that it comes up and stays up, where the cloud measures that; above 0, at most 1."""
    disk_usd_per_gib_hour: float = 0.0
    """For disk beyond what the price includes."""
    traffic_usd_per_gib: float = 0.0
    """For what it downloads."""
    host: str = ""
    """The physical machine, where the cloud tells them apart: one that did not come up is avoided for a while."""
    architecture: str = "x86_64"
    """Of its processors: `x86_64` or `arm64`. Images are made for some."""
    stock_known: bool = True
    """False where the cloud does not say beforehand whether it can be had: an order may wait for it."""


@dataclass(frozen=True)
class Search:
    """What is to be launched, as far as it decides what a cloud can offer."""

    options: Mapping[str, object] = field(default_factory=dict)
    """This provider's section of the recipe."""
    kind: Kind | None = None
    """The only kind that will do; None leaves it to the provider, which offers what it sells by default."""
    min_cuda_version: str = ""
    """What the host's driver has to support, `13.0`; empty for no matter."""
    disk_gib: int = 0
    """What the resource needs of disk; its price belongs to the offer's. 0 where it is not known yet."""
    volume: str = ""
    """Name or id of the cloud's network volume that is to be attached; empty for none."""
    cards: tuple[str, ...] = ()
    """Canonical names of the only cards that will do; empty for any. A hint: what else is offered is left out later."""
    min_gpu_memory_gib: float = 0.0
    """What all GPUs of an offer together need at the least; 0 where it is not known. A hint, like `cards`."""
    max_price_usd_per_hour: float | None = None
    """Nothing dearer will do, and no bid may be higher."""
    spot: bool = False
    """Offers that the cloud may take back at any time will do."""
    ttl_s: float = 0.0
    """How long it may have to live: an offer that ends sooner will not do."""
    public: bool = False
    """As in `LaunchRequest`: an offer where that cannot be had will not do."""
    region: str | None = None
    """Only regions that `gpu_providers.regions.is_in` finds here will do; None for any. A hint, like `cards`, which
    matters where an offer may be in several regions, and its price depends on which."""


@dataclass(frozen=True)
class LaunchRequest:
    """One resource to make. `name` is unique, begins with `RESOURCE_PREFIX`, and is on record before the call."""

    name: str
    offer: Offer
    image: str
    """Container image; empty for `Kind.PROCESS`, which runs on what the machine has."""
    command: tuple[str, ...]
    """Never holds a secret: anyone on the machine can read it."""
    env: Mapping[str, str]
    secret_env: Mapping[str, Secret]
    port: int
    """The TCP port on which the command serves HTTP."""
    disk_gib: int
    labels: Mapping[str, str]
    """Kept with the resource where the cloud has a place for it, so that it can be recognised without our store."""
    options: Mapping[str, object]
    """This provider's section of the recipe."""
    entrypoint: tuple[str, ...] = ()
    """Replaces that of the image, with `command` as its arguments; empty leaves the image's own in place."""
    min_cuda_version: str = ""
    """As in `Search`."""
    volume: str = ""
    """Name or id of the network volume that is attached at `VolumeStore.volume_path`; empty for none."""
    idle_s: float = 0.0
    """For `Kind.SERVERLESS`: the cloud ends a worker after so long without a request."""
    older_image: str = ""
    """The same for hosts that do not support `min_cuda_version`, where the provider learns that only on the host; empty
    for none."""
    public: bool = False
    """The port must be reachable from here by the endpoint's own URL, whatever the provider's `link` is."""
    start_s: float = 0.0
    """How long it may take from the order until it serves: a cloud with a shorter patience of its own must be told."""
    concurrency: int = 0
    """For `Kind.SERVERLESS`: requests at once for which one worker was sized; 0 where that is not known."""
    most_concurrency: int = 0
    """For `Kind.SERVERLESS`: requests at once that one worker works on, however many it is given; 0 as above."""
    instead: tuple[Offer, ...] = ()
    """Other offers of this provider, of as many GPUs each, on which the same command will do: for clouds that choose
    among several cards by themselves (`Provider.chooses_cards`). The first that can be had is to be taken."""
    regions: tuple[str, ...] = ()
    """Of an offer that may be in several regions (`Offer.region` has them all): only in one of these. Empty for any."""
    entry: Path | None = None
    """For `Kind.SERVERLESS`, where workers run a Python file and not the image's own command: such as
    `templates/modal_entry.py`, which starts the command in the environment variable GPU_COMMAND (a JSON list)."""


@dataclass(frozen=True)
class Resource:
    """What a cloud says of one resource, now."""

    provider: str
    resource_id: str
    name: str
    state: ResourceState
    endpoint: str
    """Root URL (`http://host:port`, no path), or empty while it has none."""
    price_usd_per_hour: float
    """What an hour like this moment costs: 0 for a serverless endpoint without workers. `launch` may say what it will
    cost while it works."""
    created_at: datetime
    labels: Mapping[str, str]
    detail: str
    """The cloud's own word for its state, for people."""
    region: str = ""
    """Where it is; empty when the cloud has not said so (yet)."""
    most_workers: int = 1
    """How many at most can bill at once, each at the price of its offer; above 1 for serverless endpoints that grow."""
    native_idle_s: float | None = None
    """After how long without requests the cloud itself stops billing it, as the cloud reads it back."""
    full_price_usd_per_hour: float | None = None
    """What an hour costs while it works, of one worker where there may be several; None where that is no other than
    `price_usd_per_hour`."""

    @property
    def full_price(self) -> float:
        """USD per hour while it works, whatever it costs at this moment."""
        return self.price_usd_per_hour if self.full_price_usd_per_hour is None else self.full_price_usd_per_hour


@dataclass(frozen=True)
class Boot:
    """How far a host has come with a resource that was launched."""

    running: bool
    """The command runs; whether it is healthy is for the caller to find out."""
    detail: str
    """For people: `pulling the image: 12 of 20 layers`. Any change of it is a sign of progress."""
    uptime_s: float | None = None
    """Since the command was last started: a fall between two looks is a restart. None where it is not known."""
    endpoint: str = ""
    """As in `Resource`: some clouds choose it only when the command runs."""
    note: str = ""
    """What the user has to know of how it came up, a sentence; each is told once."""
    price_usd_per_hour: float | None = None
    """As in `Resource`, where this look tells it: some clouds bill less, or nothing, until it runs."""


@dataclass(frozen=True)
class SelfDestruction:
    """How a resource ends itself from inside, with a credential that is in its environment.

    `{NAME}` in URLs, headers and body stands for that environment variable of the resource.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    check_method: str
    check_url: str
    gone: Mapping[int, str]
    """How the cloud says, to the call or to the check, that it is gone: the answer has one of these HTTP statuses, and
    somewhere in its body matches this regular expression (empty for any body)."""
    user_agent: str
    credential_variables: tuple[str, ...]
    """Variables with which it can be destroyed: only the supervisor gets them, not the command under it."""
    body: str = ""
    """Sent with the call (not with the check), as JSON; empty for none."""


@dataclass(frozen=True)
class SshLogin:
    """How to log in to a machine: nothing here is secret but what `identity` holds."""

    host: str
    port: int
    user: str
    identity: Path
    """The private key; others are not to be tried."""
    known_hosts: Path
    """In OpenSSH's format: the only host keys that will do, under the name `alias`."""
    alias: str


@dataclass(frozen=True)
class Check:
    """One line of `gpu doctor`."""

    subject: str
    ok: bool
    message: str
    hint: str = ""


class Provider(ABC):
    """One cloud. Anything but the documented results is a `ProviderError`."""

    name: ClassVar[str]
    """As typed by users: `runpod`, `vast`, `lambda`, `modal`, `local`."""
    poll_interval_s: float = 5.0
    """How often, at most, `describe` or `boot` may be called for one resource."""
    list_lag_s: float = 0.0
    """For how long after a create `find` and `describe` may not know of it yet."""
    link: Link = Link.DIRECT
    """How its endpoints are reached. For another than DIRECT their URLs are those of the bare port: `http://`. For SSH
    it is the port as the machine itself sees it, `http://127.0.0.1:8000`."""
    chooses_cards: bool = False
    """Its serverless workers run on whichever of several cards can be had: it heeds `LaunchRequest.instead`."""

    def __init__(self, context: ProviderContext) -> None:
        self.context = context

    @abstractmethod
    def offers(self, search: Search) -> Sequence[Offer]:
        """All that can be had now, each with its true price; empty when nothing can.

        Raises InvalidRequest for an option that is not known or makes no sense.
        """

    @abstractmethod
    def why_no_offers(self, search: Search) -> str:
        """One line for the user when `offers` is empty; empty text when there is nothing to explain."""

    @abstractmethod
    def launch(self, request: LaunchRequest) -> Resource:
        """Make the resource and return at once, before the command serves anything.

        After any error but CreateUnknown nothing of that name exists at the cloud. After CreateUnknown it may.
        """

    @abstractmethod
    def find(self, name: str) -> Resource | None:
        """The resource of exactly this name, or None when the cloud says that there is none."""

    @abstractmethod
    def describe(self, resource_id: str) -> Resource:
        """Read its state now; never waits. Raises NotFound only on the cloud's own word."""

    def boot(self, resource_id: str) -> Boot:
        """How far its host has come, now; never waits. For the time between `launch` and the command's first word.

        Raises HostFailed when this host will never run it, CommandCrashed when its command has ended or ends again and
        again, InvalidRequest when no host would do (no such image, too little disk), NotFound as `describe`.
        """
        resource = self.describe(resource_id)
        if resource.state is ResourceState.BROKEN:
            raise CommandCrashed(resource.detail)
        running = resource.state is ResourceState.RUNNING
        return Boot(running, resource.detail, price_usd_per_hour=resource.price_usd_per_hour)

    def self_destruction(self, options: Mapping[str, object]) -> SelfDestruction | None:  # noqa: ARG002 - most need none
        """How its resources end themselves; None where they have no means to.

        `options` is this provider's section of the recipe, which may decide that.
        """
        return None

    def ssh(self, name: str) -> SshLogin | None:  # noqa: ARG002 - most clouds' resources have no SSH server
        """How to log in to the machine of the resource of this name, by what this side knows: asks nobody.

        None where it has no SSH server of its own, and as long as this side does not know where it is.
        """
        return None

    def forget(self, name: str) -> None:  # noqa: B027 - most keep nothing
        """Drop what is kept, here or without cost at the cloud, for a resource that is gone. Never raises."""

    def kept(self) -> Collection[str]:
        """Names of resources for which something is kept that `forget` drops: of those that are gone, too, where it
        could not be dropped, or nobody did. Raises ProviderError.
        """
        return ()

    def environment(self, resource_id: str) -> Mapping[str, Secret]:  # noqa: ARG002 - most clouds do not show it
        """The variables of its command, where the cloud shows them to whoever may use the account; else empty.

        Raises ProviderError.
        """
        return {}

    def edge_key(self, kind: Kind, name: str) -> Secret | None:  # noqa: ARG002 - most clouds have none
        """The key that the cloud's own edge demands at the endpoint of the resource of this name and kind, in the place
        of the engine's; by what this side knows.

        None where the engine checks its own key, and before the launch of one whose key is made with it. Raises
        AuthError when there is none to be had.
        """
        return None

    def first_byte_limit_s(self, kind: Kind) -> float | None:  # noqa: ARG002 - as above
        """After how long without a byte of an answer the cloud's edge gives up on a request; None for no limit."""
        return None

    def account(self) -> str:
        """Tells the account that is asked from others, without being a secret; empty where there are no accounts.

        What one account says to be gone may live on another. Raises AuthError without credentials.
        """
        return ""

    def balance_usd(self) -> float | None:
        """What the account has left; None where the cloud does not say. Never raises."""
        return None

    @abstractmethod
    def terminate(self, resource_id: str) -> None:
        """End it and its bill. Idempotent: one that is gone already is success.

        Returning means that the cloud accepted it; gone is only what `describe` then says.
        """

    @abstractmethod
    def list_resources(self) -> Sequence[Resource]:
        """Everything of ours at this cloud, by our prefix and what other marks of ours it keeps; nothing else.

        Raises Incomplete with the others when it cannot be told what one of them is: what is left out counts as gone.
        """

    @abstractmethod
    def logs(
        self,
        resource_id: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        """Lines of its output, oldest first, without line ends.

        `tail` keeps the last so many. With `follow` it goes on until the resource is gone or `stop()` is true.
        Works after the end where the cloud keeps logs, else raises NotFound.
        """

    @abstractmethod
    def check(self) -> Sequence[Check]:
        """What works and what does not, for `gpu doctor`. Never raises."""


@dataclass(frozen=True)
class Volume:
    """Network storage that outlives the resources that it is attached to, and bills until it is deleted."""

    provider: str
    volume_id: str
    name: str
    size_gb: int
    """0 for storage that grows with what is put into it."""
    region: str
    price_usd_per_month: float | None
    """None where the cloud does not say."""


@dataclass(frozen=True)
class Bucket:
    """How a volume is filled from here: over S3."""

    endpoint_url: str
    region: str
    bucket: str
    access_key_id: Secret
    secret_access_key: Secret


class VolumeStore(ABC):
    """What a provider with network volumes can do besides; test with `isinstance`."""

    volume_path: ClassVar[str]
    """Where a volume is mounted in every resource."""

    @abstractmethod
    def volumes(self) -> Sequence[Volume]:
        """All volumes of the account, ours or not."""

    @abstractmethod
    def create_volume(self, name: str, size_gb: int, region: str) -> Volume:
        """Make one; it bills from now on. Raises InvalidRequest for a size or region that cannot be.

        Where storage grows by itself, the size means nothing.
        """

    @abstractmethod
    def delete_volume(self, volume_id: str) -> None:
        """Delete it with all that it holds. One that is gone already is success."""

    @abstractmethod
    def bucket(self, volume: Volume) -> Bucket:
        """Raises AuthError without credentials, InvalidRequest where its region has no such access."""
