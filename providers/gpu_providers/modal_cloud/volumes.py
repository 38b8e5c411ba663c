"""Volumes: storage that is mounted wherever a container runs. They have no size and no region.

They cost 0.09 USD for a GiB and month beyond the account's first TiB (modal.com/pricing): that is no price of one
volume, so none is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_providers.base import Volume
from gpu_providers.errors import InvalidRequest
from gpu_providers.modal_cloud.session import Session

if TYPE_CHECKING:
    from modal import Volume as ModalVolume

VOLUME_PATH = "/models"
"""Where the volume with the weights is mounted."""


@dataclass(frozen=True)
class Volumes:
    """The volumes of an environment: what `VolumeStore` promises, for Modal."""

    session: Session

    def all(self) -> Sequence[Volume]:
        """In the order of their names."""
        import modal

        with self.session.call("list the volumes") as client:
            found = modal.Volume.objects.list(environment_name=self.session.environment, client=client)
            return sorted((_volume(one) for one in found), key=lambda volume: volume.name)

    def create(self, name: str) -> Volume:
        """An empty one. Raises InvalidRequest for a name that is taken or that cannot be one."""
        import modal

        environment = self.session.environment
        with self.session.call(f"make volume {name}") as client:
            try:
                modal.Volume.objects.create(name, environment_name=environment, client=client)
            except modal.exception.AlreadyExistsError:
                hint = "choose another name, or use it"
                raise InvalidRequest(f"there is a volume {name!r} already", hint=hint) from None
            return _volume(modal.Volume.from_name(name, environment_name=environment, client=client).hydrate())

    def delete(self, volume_id: str) -> None:
        """One that is gone already is success."""
        import modal

        environment = self.session.environment
        names = [volume.name for volume in self.all() if volume.volume_id == volume_id]
        with self.session.call(f"delete volume {volume_id}") as client:
            for name in names:
                modal.Volume.objects.delete(name, allow_missing=True, environment_name=environment, client=client)


def _volume(found: "ModalVolume") -> Volume:
    return Volume("modal", found.object_id, found.name or "", size_gb=0, region="", price_usd_per_month=None)
