"""The fleet: the store, the keys, the locks and the providers that one run of `gpu` works with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.keys import Keys
from gpu_cli.fleet.store import Store
from gpu_cli.locks import Lock
from gpu_cli.paths import Paths
from gpu_providers import registry
from gpu_providers.base import Kind, Provider, ProviderContext, Secret
from gpu_providers.errors import ProviderError

if TYPE_CHECKING:
    from gpu_cli.fleet.certificates import Certificates


@dataclass(frozen=True)
class Fleet:
    """Everything that launching, guarding and ending needs. Built by `recover.open_fleet`."""

    paths: Paths
    environ: Mapping[str, str]
    store: Store
    clock: Clock = field(default_factory=Clock)
    _loaded: dict[str, Provider] = field(default_factory=dict, repr=False)

    @contextmanager
    def apart(self) -> "Iterator[Fleet]":
        """The same for the block, in another thread: with a connection to the store of its own."""
        with closing(Store(self.store.path).open()) as store:
            yield replace(self, store=store)

    @property
    def keys(self) -> Keys:
        """The API keys of deployments."""
        return Keys(self.paths.state / "keys")

    @property
    def certificates(self) -> "Certificates":
        """The certificates of deployments that are reached over TLS."""
        from gpu_cli.fleet.certificates import Certificates  # with it comes OpenSSL, for which `gpu ls` has no use

        return Certificates(self.paths.state / "certificates")

    def key_of(self, deployment: Deployment) -> Secret | None:
        """The key of its endpoint; None when this machine does not have it. Raises ProviderError.

        Where the cloud's edge demands a key of its own, that is the one, and no copy of it is kept.
        """
        name, kind = deployment.resource_name, deployment.kind
        if kind is Kind.SERVERLESS and (key := self.provider(deployment.provider).edge_key(kind, name)):
            return key
        return self.keys.read(name)

    def launch_lock(self, name: str) -> Lock:
        """Held by the one process that launches (or runs) the deployment of this name."""
        return Lock(self.launch_lock_path(name))

    def launch_lock_path(self, name: str) -> Path:
        """Where that lock is, for those who only want to know whether it is held."""
        return self.paths.state / "locks" / f"{name}.lock"

    def provider(self, name: str) -> Provider:
        """The provider of this name. Raises ProviderError."""
        if name not in self._loaded:
            context = ProviderContext(self.paths.state / "providers" / name, self.environ)
            self._loaded[name] = registry.load(name, context)
        return self._loaded[name]

    def providers(self) -> tuple[Sequence[Provider], Sequence[ProviderError]]:
        """All that load, and what is wrong with those that do not."""
        loaded: list[Provider] = []
        broken: list[ProviderError] = []
        for name in registry.available():
            try:
                loaded.append(self.provider(name))
            except ProviderError as error:
                broken.append(error)
        return loaded, broken
