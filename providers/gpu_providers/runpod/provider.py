"""RunPod in our nouns: a pod is a resource, and so is a serverless endpoint, whose id has a prefix to tell."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

from gpu_providers.api_keys import fingerprint
from gpu_providers.base import (
    Boot,
    Bucket,
    Check,
    Kind,
    LaunchRequest,
    Offer,
    Provider,
    ProviderContext,
    Resource,
    Search,
    Secret,
    SelfDestruction,
    Volume,
    VolumeStore,
)
from gpu_providers.errors import AuthError
from gpu_providers.http import Http, user_agent
from gpu_providers.in_parallel import at_once
from gpu_providers.runpod import doctor
from gpu_providers.runpod.client import RunPodClient
from gpu_providers.runpod.credentials import api_key
from gpu_providers.runpod.endpoints import PREFIX, Endpoints
from gpu_providers.runpod.logs import endpoint_log, pod_log
from gpu_providers.runpod.offers import SOLD, offers, why_none
from gpu_providers.runpod.options import parse_options
from gpu_providers.runpod.pods import Pods
from gpu_providers.runpod.urls import Urls
from gpu_providers.runpod.volumes import VOLUME_PATH, Volumes

POLL_VARIABLE = "GPU_RUNPOD_POLL_S"
"""For tests against an emulator, whose time may run faster: seconds between two looks, instead of the usual ones."""

_LIST_LAG_POLLS = 6
_FIRST_BYTE_S = {Kind.POD: 100.0, Kind.SERVERLESS: 330.0}
"""docs.runpod.io, pods/configuration/expose-ports and serverless/load-balancing/overview."""


class RunPodProvider(Provider, VolumeStore):
    """One account of RunPod, over REST API v2.

    Without a key every method that asks the cloud raises NoCredentials, but for those that never raise.
    """

    name = "runpod"
    volume_path = VOLUME_PATH

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.poll_interval_s = float(context.environ.get(POLL_VARIABLE) or Provider.poll_interval_s)
        self.list_lag_s = _LIST_LAG_POLLS * self.poll_interval_s
        self._urls = Urls.of(context.environ)

    def offers(self, search: Search) -> Sequence[Offer]:
        options = parse_options(search.options)
        if search.kind and search.kind not in SOLD:
            return ()
        return offers(self._client, search, options, self._volume(search.volume), datetime.now(UTC))

    def why_no_offers(self, search: Search) -> str:
        return why_none(search)

    def launch(self, request: LaunchRequest) -> Resource:
        options, volume = parse_options(request.options), self._volume(request.volume)
        if request.offer.kind is Kind.SERVERLESS:
            return self._endpoints.launch(request, options, volume)
        return self._pods.launch(request, options, volume)

    def find(self, name: str) -> Resource | None:
        return self._pods.find(name) or self._endpoints.find(name)

    def describe(self, resource_id: str) -> Resource:
        if resource_id.startswith(PREFIX):
            return self._endpoints.describe(resource_id.removeprefix(PREFIX))
        return self._pods.describe(resource_id)

    def boot(self, resource_id: str) -> Boot:
        if resource_id.startswith(PREFIX):
            return self._endpoints.boot(resource_id.removeprefix(PREFIX))
        return self._pods.boot(resource_id)

    def terminate(self, resource_id: str) -> None:
        if resource_id.startswith(PREFIX):
            self._client.delete_endpoint(resource_id.removeprefix(PREFIX))
        else:
            self._client.delete_pod(resource_id)

    def list_resources(self) -> Sequence[Resource]:
        listed = at_once(lambda all_of_it: list(all_of_it()), (self._pods.all, self._endpoints.all))
        return [resource for resources in listed for resource in resources]

    def logs(
        self,
        resource_id: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        read = endpoint_log if resource_id.startswith(PREFIX) else pod_log
        cloud_id = resource_id.removeprefix(PREFIX)
        return read(self._client, cloud_id, tail=tail, follow=follow, stop=stop, poll_s=self.poll_interval_s)

    def check(self) -> Sequence[Check]:
        return tuple(doctor.checks(self.context.environ, lambda: self._client))

    def self_destruction(self, options: Mapping[str, object]) -> SelfDestruction | None:  # noqa: ARG002
        """RunPod puts the pod's id and a key for this pod alone into its environment."""
        url = f"{self._urls.api}/pods/{{RUNPOD_POD_ID}}"
        return SelfDestruction(
            method="DELETE",
            url=url,
            headers={"Authorization": "Bearer {RUNPOD_API_KEY}"},
            check_method="GET",
            check_url=url,
            gone={404: ""},
            user_agent=user_agent(),
            credential_variables=("RUNPOD_API_KEY",),
        )

    def environment(self, resource_id: str) -> Mapping[str, Secret]:
        return {} if resource_id.startswith(PREFIX) else self._pods.environment(resource_id)

    def edge_key(self, kind: Kind, name: str) -> Secret | None:  # noqa: ARG002 - one key for all
        return api_key(self.context.environ) if kind is Kind.SERVERLESS else None

    def account(self) -> str:
        """A fingerprint of the key: the API does not say whose it is."""
        return fingerprint(api_key(self.context.environ))

    def first_byte_limit_s(self, kind: Kind) -> float | None:
        return _FIRST_BYTE_S.get(kind)

    def balance_usd(self) -> float | None:
        with contextlib.suppress(AuthError):
            return self._client.balance_usd()
        return None

    def volumes(self) -> Sequence[Volume]:
        return self._volumes.all()

    def create_volume(self, name: str, size_gb: int, region: str) -> Volume:
        return self._volumes.create(name, size_gb, region)

    def delete_volume(self, volume_id: str) -> None:
        self._volumes.delete(volume_id)

    def bucket(self, volume: Volume) -> Bucket:
        return self._volumes.bucket(volume)

    @cached_property
    def _client(self) -> RunPodClient:
        return RunPodClient(api_key(self.context.environ), self._urls.api, Http())

    @property
    def _pods(self) -> Pods:
        return Pods(self._client, self._urls)

    @property
    def _endpoints(self) -> Endpoints:
        return Endpoints(self._client, self._urls)

    @property
    def _volumes(self) -> Volumes:
        return Volumes(self._client, self.context.environ)

    def _volume(self, name: str) -> Volume | None:
        return self._volumes.find(name) if name else None
