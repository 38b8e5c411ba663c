"""Filesystems: storage in one region, mounted by machines that are launched there.

They have no size: they grow with what is put into them, up to 8 EB, and cost by that (docs.lambda.ai, filesystems and
on-demand billing). So a `Volume` of Lambda has a `size_gb` of 0, and the size that a new one is asked for is ignored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from gpu_providers.base import Bucket, Secret, Volume
from gpu_providers.errors import AuthError, CreateUnknown, InvalidRequest
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.values import Json, id_of, number, part, text
from gpu_providers.volumes import chosen

VOLUME_PATH = "/lambda/nfs/volume"
"""Where we have a filesystem mounted; by default it would be a folder of its own name beside it."""
USD_PER_GIB_MONTH = 0.20
_NAME = re.compile(r"[a-zA-Z][0-9a-zA-Z-]{0,59}")

S3_REGIONS = ("us-east-2", "us-east-3", "us-midwest-2")
"""Those whose filesystems can be filled over S3 (docs.lambda.ai, filesystem S3 adapter, and users of the third)."""
S3_URL = "https://files.{region}.lambda.ai"
S3_URL_VARIABLE = "GPU_LAMBDA_S3_URL"
"""Names another address, `{region}` standing for the region."""
ACCESS_KEY, SECRET_KEY = "LAMBDA_S3_ACCESS_KEY_ID", "LAMBDA_S3_SECRET_ACCESS_KEY"
MAKE_A_KEY = f"make a key in Lambda's console (API keys > Filesystem S3 Adapter) and set {ACCESS_KEY} and {SECRET_KEY}"


@dataclass(frozen=True)
class Filesystems:
    """The filesystems of an account: what `VolumeStore` promises, for Lambda."""

    client: LambdaClient

    def all(self) -> Sequence[Volume]:
        """In the order of their names."""
        found = [_volume(said) for said in self.client.filesystems()]
        return sorted(found, key=lambda volume: (volume.name, volume.volume_id))

    def find(self, wanted: str) -> Volume:
        """The filesystem of this id or name. Raises InvalidRequest when there is none, or several of the name."""
        return chosen(wanted, self.all(), provider="lambda", cloud="Lambda", what="filesystem")

    def create(self, name: str, region: str) -> Volume:
        """An empty one. A name that is taken is refused, so that a lost answer leaves no doubt."""
        if not _NAME.fullmatch(name):
            hint = "begin with a letter, then up to 59 letters, digits and dashes"
            raise InvalidRequest(f"{name!r} cannot be the name of a filesystem", hint=hint)
        if self._named(name):
            raise InvalidRequest(f"there is a filesystem {name!r} already", hint="choose another name, or use it")
        try:
            return _volume(self.client.create_filesystem(name, region.lower()))
        except CreateUnknown:
            made = self._named(name)
            if made is None:
                raise
            return made

    def delete(self, volume_id: str) -> None:
        """One that is gone already is success. Raises ProviderUnavailable while a machine has it mounted."""
        self.client.delete_filesystem(volume_id)

    def _named(self, name: str) -> Volume | None:
        return next((volume for volume in self.all() if volume.name == name), None)


def mounts_of(volume: Volume | None) -> list[Mapping[str, str]]:
    """A launch's `file_system_mounts`: they alone decide the path, and can no longer be changed afterwards."""
    return [{"mount_point": VOLUME_PATH, "file_system_id": volume.volume_id}] if volume else []


def bucket(volume: Volume, environ: Mapping[str, str]) -> Bucket:
    """Raises AuthError without an S3 key, InvalidRequest for a region without the S3 adapter."""
    template = environ.get(S3_URL_VARIABLE)
    if not template and volume.region not in S3_REGIONS:
        raise InvalidRequest(
            f"{volume.name} is in {volume.region or 'an unknown region'}, where Lambda has no S3 adapter",
            hint=f"make a filesystem in one of {', '.join(S3_REGIONS)}",
        )
    access, secret = environ.get(ACCESS_KEY, "").strip(), environ.get(SECRET_KEY, "").strip()
    if not access or not secret:
        missing = " and ".join(name for name, value in ((ACCESS_KEY, access), (SECRET_KEY, secret)) if not value)
        raise AuthError(f"{missing} is not set, and Lambda's S3 adapter has keys of its own", hint=MAKE_A_KEY)
    url = (template or S3_URL).replace("{region}", volume.region)
    return Bucket(url, volume.region, _bucket_name(volume.volume_id), Secret(access), Secret(secret))


def _bucket_name(volume_id: str) -> str:
    """A filesystem's UUID (docs.lambda.ai, filesystem S3 adapter): the API's ids lack the dashes that users' have."""
    try:
        return str(UUID(volume_id))
    except ValueError:
        return volume_id


def _volume(said: Json) -> Volume:
    region = text(part(said, "region"), "name")
    return Volume("lambda", id_of(said), text(said, "name"), 0, region, _usd_per_month(said))


def _usd_per_month(said: Json) -> float | None:
    """None for what seems to be empty: the count is hours old, and a production pool saw 0 with 68 GB stored."""
    used_gib = (number(said.get("bytes_used")) or 0.0) / 2**30
    return round(used_gib * USD_PER_GIB_MONTH, 2) if used_gib > 0 else None
