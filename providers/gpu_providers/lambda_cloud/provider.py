"""Lambda in our nouns: a whole virtual machine is a resource, and its engine is reached through its SSH server."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from gpu_providers.api_keys import fingerprint
from gpu_providers.base import (
    Boot,
    Bucket,
    Check,
    LaunchRequest,
    Link,
    Offer,
    Provider,
    ProviderContext,
    Resource,
    Search,
    SelfDestruction,
    SshLogin,
    Volume,
    VolumeStore,
)
from gpu_providers.http import Http, user_agent
from gpu_providers.lambda_cloud import doctor
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.credentials import api_key
from gpu_providers.lambda_cloud.filesystems import VOLUME_PATH, Filesystems, bucket
from gpu_providers.lambda_cloud.firewall import left_over
from gpu_providers.lambda_cloud.instances import Instances
from gpu_providers.lambda_cloud.launching import Launching, SshServer, forget
from gpu_providers.lambda_cloud.machines import Machines
from gpu_providers.lambda_cloud.offers import offers, why_none
from gpu_providers.lambda_cloud.options import parse_options
from gpu_providers.lambda_cloud.pacing import Pace
from gpu_providers.lambda_cloud.parcel import INSTANCE_VARIABLE

API_URL = "https://cloud.lambda.ai/api/v1"
API_URL_VARIABLE = "GPU_LAMBDA_API_URL"
"""Where Lambda is instead."""
POLL_VARIABLE = "GPU_LAMBDA_POLL_S"
"""For tests against an emulator, whose time may run faster: seconds between two looks, instead of the usual ones. All
other limits of how often Lambda is asked change alike."""
SSH_PORT_VARIABLE, SSH_USER_VARIABLE = "GPU_LAMBDA_SSH_PORT", "GPU_LAMBDA_SSH_USER"
"""Where the SSH server of an emulated machine is."""
KEY_ON_NODE = "GPU_LAMBDA_KEY"
"""The environment variable of a machine that may end itself."""

_POLL_S = 10.0
"""Users' clients that look every second sit at Lambda's limit; every 5 to 10 s leaves room for others."""
_LIST_LAG_POLLS = 18
"""A launch whose answer was lost has been looked for during three minutes."""


class LambdaProvider(Provider, VolumeStore):
    """One account of Lambda.

    Without a key every method that asks the cloud raises NoCredentials, but for those that never raise.
    """

    name = "lambda"
    link = Link.SSH
    volume_path = VOLUME_PATH

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        environ = context.environ
        self.poll_interval_s = float(environ.get(POLL_VARIABLE) or _POLL_S)
        self.list_lag_s = _LIST_LAG_POLLS * self.poll_interval_s
        self._api_url = (environ.get(API_URL_VARIABLE) or API_URL).rstrip("/")
        self._ssh_server = SshServer(
            user=environ.get(SSH_USER_VARIABLE) or "ubuntu", port=int(environ.get(SSH_PORT_VARIABLE) or 22)
        )
        self._machines = Machines(context.state_dir / "machines")

    def offers(self, search: Search) -> Sequence[Offer]:
        return offers(self._client, search, parse_options(search.options), datetime.now(UTC))

    def why_no_offers(self, search: Search) -> str:
        return why_none(search)

    def launch(self, request: LaunchRequest) -> Resource:
        options = parse_options(request.options)
        key = {KEY_ON_NODE: api_key(self.context.environ)} if options.on_node_key else {}
        launching = Launching(self._client, self._machines, self._account_folder, self._ssh_server)
        return launching.launch(request, options, {**request.secret_env, **key})

    def find(self, name: str) -> Resource | None:
        return self._instances.find(name)

    def describe(self, resource_id: str) -> Resource:
        return self._instances.describe(resource_id)

    def boot(self, resource_id: str) -> Boot:
        return self._instances.boot(resource_id)

    def terminate(self, resource_id: str) -> None:
        self._client.terminate(resource_id)

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
        return self._instances.log(resource_id, tail=tail, follow=follow, stop=stop, poll_s=self.poll_interval_s)

    def check(self) -> Sequence[Check]:
        found = doctor.checks(
            self.context.environ, lambda: self._client, lambda: self._account_folder, lambda: self.offers(Search())
        )
        return tuple(found)

    def ssh(self, name: str) -> SshLogin | None:
        return self._machines.login(name)

    def forget(self, name: str) -> None:
        forget(lambda: self._client, self._machines, name)

    def kept(self) -> Collection[str]:
        return self._machines.names() | left_over(self._client)

    def self_destruction(self, options: Mapping[str, object]) -> SelfDestruction | None:
        """Only with the account's own key, which a machine gets by the option `on_node_key`: there are no lesser keys.

        To shut it down would end nothing: it bills on (docs.lambda.ai, on-demand billing).
        """
        if not parse_options(options).on_node_key:
            return None
        return SelfDestruction(
            method="POST",
            url=f"{self._api_url}/instance-operations/terminate",
            body=f'{{"instance_ids": ["{{{INSTANCE_VARIABLE}}}"]}}',
            headers={"Authorization": f"Bearer {{{KEY_ON_NODE}}}"},
            check_method="GET",
            check_url=f"{self._api_url}/instances/{{{INSTANCE_VARIABLE}}}",
            gone={404: "object-does-not-exist", 200: r'"status"\s*:\s*"(terminating|terminated|preempted)"'},
            user_agent=user_agent(),
            credential_variables=(KEY_ON_NODE,),
        )

    def account(self) -> str:
        """A fingerprint of the key: the API does not say whose it is."""
        return fingerprint(api_key(self.context.environ))

    def volumes(self) -> Sequence[Volume]:
        return self._filesystems.all()

    def create_volume(self, name: str, size_gb: int, region: str) -> Volume:  # noqa: ARG002 - they grow by themselves
        return self._filesystems.create(name, region)

    def delete_volume(self, volume_id: str) -> None:
        self._filesystems.delete(volume_id)

    def bucket(self, volume: Volume) -> Bucket:
        return bucket(volume, self.context.environ)

    @cached_property
    def _client(self) -> LambdaClient:
        pace = Pace(self._account_folder, scale=self.poll_interval_s / _POLL_S)
        return LambdaClient(api_key(self.context.environ), self._api_url, Http(), pace)

    @property
    def _account_folder(self) -> Path:
        """Raises NoCredentials."""
        return self.context.state_dir / self.account()

    @property
    def _filesystems(self) -> Filesystems:
        return Filesystems(self._client)

    @property
    def _instances(self) -> Instances:
        return Instances(self._client, self._machines)
