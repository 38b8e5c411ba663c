"""Vast.ai in our nouns: an instance is a resource, and its ports are bare ones on the internet."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256

from gpu_providers.api_keys import fingerprint
from gpu_providers.base import (
    Boot,
    Check,
    Kind,
    LaunchRequest,
    Link,
    Offer,
    Provider,
    ProviderContext,
    Resource,
    Search,
    Secret,
    SelfDestruction,
)
from gpu_providers.errors import ProviderError
from gpu_providers.http import Http, user_agent
from gpu_providers.vast import doctor
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.credentials import api_key
from gpu_providers.vast.instances import Instances
from gpu_providers.vast.logs import instance_log
from gpu_providers.vast.offers import search_offers, why_none
from gpu_providers.vast.options import parse_options
from gpu_providers.vast.search_cache import SearchCache

API_URL = "https://console.vast.ai"
API_URL_VARIABLE = "GPU_VAST_API_URL"
"""Where Vast.ai is instead."""
POLL_VARIABLE = "GPU_VAST_POLL_S"
"""For tests against an emulator, whose time may run faster: seconds between two looks, instead of the usual ones."""

_POLL_S = 10.0
"""Vast.ai limits every call by itself; users report that one look in ten seconds is always allowed."""
_LIST_LAG_POLLS = 6


class VastProvider(Provider):
    """One account of Vast.ai.

    Without a key every method that asks the cloud raises NoCredentials, but for those that never raise.
    """

    name = "vast"
    link = Link.TLS

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.poll_interval_s = float(context.environ.get(POLL_VARIABLE) or _POLL_S)
        self.list_lag_s = _LIST_LAG_POLLS * self.poll_interval_s
        self._api_url = (context.environ.get(API_URL_VARIABLE) or API_URL).rstrip("/")

    def offers(self, search: Search) -> Sequence[Offer]:
        options = parse_options(search.options)
        if search.kind not in (None, Kind.POD):
            return ()
        return search_offers(self._client, self._cache, search, options, datetime.now(UTC))

    def why_no_offers(self, search: Search) -> str:
        return why_none(search)

    def launch(self, request: LaunchRequest) -> Resource:
        return self._instances.launch(request, parse_options(request.options))

    def find(self, name: str) -> Resource | None:
        return self._instances.find(name)

    def describe(self, resource_id: str) -> Resource:
        return self._instances.describe(resource_id)

    def boot(self, resource_id: str) -> Boot:
        return self._instances.boot(resource_id)

    def terminate(self, resource_id: str) -> None:
        self._instances.destroy(resource_id)

    def list_resources(self) -> Sequence[Resource]:
        return self._instances.all()

    def logs(
        self,
        resource_id: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        return instance_log(self._client, resource_id, tail=tail, follow=follow, stop=stop, poll_s=self.poll_interval_s)

    def check(self) -> Sequence[Check]:
        return tuple(doctor.checks(self.context.environ, lambda: self._client, lambda: self.offers(Search())))

    def self_destruction(self, options: Mapping[str, object]) -> SelfDestruction | None:  # noqa: ARG002
        """Vast.ai puts the instance's id and a key for this instance alone into its environment.

        A key that it does not know is answered with 404 as well: only its word for the instance counts.
        """
        url = f"{self._api_url}/api/v0/instances/{{CONTAINER_ID}}/"
        return SelfDestruction(
            method="DELETE",
            url=url,
            headers={"Authorization": "Bearer {CONTAINER_API_KEY}"},
            check_method="GET",
            check_url=url,
            gone={404: "no_such_instance", 200: r'"instances"\s*:\s*null'},
            user_agent=user_agent(),
            credential_variables=("CONTAINER_API_KEY",),
        )

    def environment(self, resource_id: str) -> Mapping[str, Secret]:
        return self._instances.environment(resource_id)

    def account(self) -> str:
        """A fingerprint of the key: reading whose it is would be a call, and may not be allowed to it."""
        return fingerprint(api_key(self.context.environ))

    def balance_usd(self) -> float | None:
        with contextlib.suppress(ProviderError):
            return self._client.balance_usd()
        return None

    @cached_property
    def _client(self) -> VastClient:
        return VastClient(api_key(self.context.environ), self._api_url, Http())

    @property
    def _cache(self) -> SearchCache:
        """Of this account at this address: another has a quota of its own."""
        asked_at = sha256(self._api_url.encode()).hexdigest()[:12]
        return SearchCache(self.context.state_dir / f"{self.account()}-{asked_at}")

    @property
    def _instances(self) -> Instances:
        return Instances(self._client)
