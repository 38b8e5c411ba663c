"""How an instance is made: all that its machine will need is ready, and on record here, before Lambda is asked."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_providers.base import LaunchRequest, Resource, ResourceState, Secret, Volume
from gpu_providers.errors import CreateUnknown, InvalidRequest, NoCapacity, ProviderError
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.filesystems import Filesystems, mounts_of
from gpu_providers.lambda_cloud.firewall import close, make_ruleset, sweep
from gpu_providers.lambda_cloud.machines import Machine, Machines
from gpu_providers.lambda_cloud.names import OfferId
from gpu_providers.lambda_cloud.options import Options
from gpu_providers.lambda_cloud.parcel import parcel_of
from gpu_providers.lambda_cloud.ssh_keys import SshKey, own_key, register
from gpu_providers.lambda_cloud.tags import tags_of
from gpu_providers.lambda_cloud.user_data import new_host_key, user_data
from gpu_providers.names import check_name
from gpu_providers.values import Json, id_of, part, text

_USUAL_ARCHITECTURE = "x86_64"


@dataclass(frozen=True)
class SshServer:
    """Where the SSH server of every machine is, and as whom one logs in."""

    user: str
    port: int


@dataclass(frozen=True)
class Launching:
    """Orders machines for one account."""

    client: LambdaClient
    machines: Machines
    key_folder: Path
    """Where our SSH key for this account is."""
    server: SshServer

    def launch(self, request: LaunchRequest, options: Options, secret_env: Mapping[str, Secret]) -> Resource:
        """Order one. Raises as the contract's `launch`. `secret_env` is what its command gets in the end."""
        check_name(request.name)
        parcel, ordered_at = parcel_of(request, secret_env), datetime.now(UTC)
        body = {**self._body(request, options), "tags": tags_of(request.labels, ordered_at)}
        with self._undone_unless_made(request.name):
            with _kept_here():
                self._prepare(request, options, body, parcel)
            instance_id = self.client.launch(body)
        with suppress(OSError, ProviderError):  # the instance is there, and its id can be learned again
            self.machines.update(request.name, instance_id=instance_id)
        return Resource(
            provider="lambda",
            resource_id=instance_id,
            name=request.name,
            state=ResourceState.STARTING,
            endpoint="",
            price_usd_per_hour=request.offer.price_usd_per_hour,
            created_at=ordered_at,
            labels=request.labels,
            detail="ordered",
            region=request.offer.region,
        )

    @contextmanager
    def _undone_unless_made(self, name: str) -> Iterator[None]:
        """Nothing is left of an attempt after which there cannot be an instance."""
        try:
            yield
        except CreateUnknown:
            raise
        except ProviderError:
            forget(lambda: self.client, self.machines, name)
            raise

    def _prepare(self, request: LaunchRequest, options: Options, body: dict[str, Any], parcel: Secret) -> None:
        """Keep here what its machine will be, and put into `body` what makes it that."""
        key = SshKey(options.ssh_key) if options.ssh_key else own_key(self.key_folder)
        body["ssh_key_names"] = [register(self.client, key)]
        host_key = new_host_key()
        body["user_data"] = user_data(host_key)
        self.machines.prepare(self._machine(request, key), host_key.public, parcel)
        if request.public:
            sweep(self.client)
            ruleset_id = make_ruleset(self.client, request.name, body["region_name"])
            self.machines.update(request.name, ruleset_id=ruleset_id)
            body["firewall_rulesets"] = [{"id": ruleset_id}]

    def _machine(self, request: LaunchRequest, key: SshKey) -> Machine:
        return Machine(
            name=request.name,
            identity=key.path,
            user=self.server.user,
            port=self.server.port,
            gpu_count=request.offer.gpu_count,
            architecture=request.offer.architecture,
            service_port=request.port,
            public=request.public,
        )

    def _body(self, request: LaunchRequest, options: Options) -> dict[str, Any]:
        """Without what makes it ours."""
        place = OfferId.parse(request.offer.offer_id)
        return {
            "name": request.name,
            "instance_type_name": place.type_name,
            "region_name": place.region,
            "image": self._image(options.image_family, request.offer.architecture, place.region),
            "file_system_mounts": mounts_of(self._volume(request)),
        }

    def _volume(self, request: LaunchRequest) -> Volume | None:
        return Filesystems(self.client).find(request.volume) if request.volume else None

    def _image(self, family: str, architecture: str, region: str) -> Json:
        """By its id where the architecture is not the usual: how a family is resolved for one is not documented.

        Raises NoCapacity where the region has none.
        """
        if architecture == _USUAL_ARCHITECTURE:
            return {"family": family}
        wanted = (family, architecture, region)
        fitting = [image for image in self.client.images() if _built_for(image) == wanted]
        if not fitting:
            raise NoCapacity(f"Lambda has no image of {family} for {architecture} in {region}")
        return {"id": id_of(max(fitting, key=lambda image: text(image, "created_time")))}


@contextmanager
def _kept_here() -> Iterator[None]:
    """Raises InvalidRequest when this side cannot keep what it has to."""
    try:
        yield
    except OSError as error:
        what = f"the keys to a new machine cannot be kept: {error}"
        raise InvalidRequest(what, hint="see to the rights and the disk of the folder for state") from None


def forget(connect: Callable[[], LambdaClient], machines: Machines, name: str) -> None:
    """Drop all that is kept of a machine that is not there, or no longer. Never raises.

    Lambda is asked only where a ruleset was made, or may have been made elsewhere. One that cannot be deleted yet, or
    now, costs nothing, and is swept up by a later launch.
    """
    machine = machines.get(name)
    with suppress(ProviderError):
        if machine is None:
            close(connect(), name)
        elif machine.ruleset_id:
            connect().delete_firewall_ruleset(machine.ruleset_id)
    machines.forget(name)


def _built_for(image: Json) -> tuple[str, str, str]:
    return text(image, "family"), text(image, "architecture"), text(part(image, "region"), "name")
