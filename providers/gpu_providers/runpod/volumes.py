"""Network volumes: storage in one data center, for pods of the secure cloud and for serverless endpoints there.

Sizes, prices and the addresses of the S3 API are those of RunPod's documentation: docs.runpod.io, pages
storage/network-volumes and storage/s3-api, and the schema CreateNetworkVolumeRequest of its REST API v2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_providers.base import Bucket, Secret, Volume
from gpu_providers.errors import AuthError, CreateUnknown, InvalidRequest
from gpu_providers.runpod.client import RunPodClient
from gpu_providers.values import Json, amount, id_of, text
from gpu_providers.volumes import chosen

VOLUME_PATH = "/runpod-volume"
"""Where serverless endpoints mount a volume; pods may choose, and are told the same."""

MIN_GB, MAX_GB = 10, 4096
USD_PER_GB_MONTH = 0.07
CHEAPER_ABOVE_GB = 1000
USD_PER_GB_MONTH_ABOVE = 0.05

S3_REGIONS = (
    "EU-CZ-1", "EU-RO-1", "EUR-IS-1", "EUR-NO-1", "US-CA-2", "US-GA-2", "US-IL-1", "US-KS-2", "US-MD-1", "US-MO-1",
    "US-MO-2", "US-NC-1", "US-NC-2", "US-NE-1", "US-WA-1",
)  # fmt: skip
"""The data centers whose volumes can be filled over S3."""
S3_URL = "https://s3api-{dc}.runpod.io"
S3_URL_VARIABLE = "GPU_RUNPOD_S3_URL"
"""Names another address, `{dc}` standing for the data center in small letters."""
ACCESS_KEY, SECRET_KEY = "RUNPOD_S3_ACCESS_KEY_ID", "RUNPOD_S3_SECRET_ACCESS_KEY"
MAKE_A_KEY = f"make an S3 API key in RunPod's console (Settings > S3 API Keys) and set {ACCESS_KEY} and {SECRET_KEY}"


@dataclass(frozen=True)
class Volumes:
    """The volumes of an account: what `VolumeStore` promises, for RunPod."""

    client: RunPodClient
    environ: Mapping[str, str]

    def all(self) -> Sequence[Volume]:
        """In the order of their names."""
        found = [_volume(said) for said in self.client.volumes()]
        return sorted(found, key=lambda volume: (volume.name, volume.volume_id))

    def find(self, wanted: str) -> Volume:
        """The volume of this id or name. Raises InvalidRequest when there is none, or several of the name."""
        return chosen(wanted, self.all(), provider="runpod", cloud="RunPod", what="network volume")

    def create(self, name: str, size_gb: int, region: str) -> Volume:
        """One of the standard tier. A name that is taken is refused, so that a lost answer leaves no doubt."""
        if not MIN_GB <= size_gb <= MAX_GB:
            raise InvalidRequest(
                f"a network volume of {size_gb} GB cannot be had", hint=f"give a --size from {MIN_GB} to {MAX_GB} GB"
            )
        if any(volume.name == name for volume in self.all()):
            raise InvalidRequest(f"there is a network volume {name!r} already", hint="choose another name, or use it")
        try:
            said = self.client.create_volume({"name": name, "size": size_gb, "dataCenter": region.upper()})
        except CreateUnknown:
            made = next((volume for volume in self.all() if volume.name == name), None)
            if made is None:
                raise
            return made
        return _volume(said)

    def delete(self, volume_id: str) -> None:
        """One that is gone already is success."""
        self.client.delete_volume(volume_id)

    def bucket(self, volume: Volume) -> Bucket:
        """Raises AuthError without an S3 key, InvalidRequest for a data center without the S3 API."""
        template = self.environ.get(S3_URL_VARIABLE)
        if not template and volume.region not in S3_REGIONS:
            raise InvalidRequest(
                f"{volume.name} is in {volume.region or 'an unknown data center'}, where RunPod has no S3 API",
                hint=f"make a volume in one of {', '.join(S3_REGIONS)}",
            )
        access, secret = self.environ.get(ACCESS_KEY, "").strip(), self.environ.get(SECRET_KEY, "").strip()
        if not access or not secret:
            missing = " and ".join(name for name, value in ((ACCESS_KEY, access), (SECRET_KEY, secret)) if not value)
            raise AuthError(f"{missing} is not set, and RunPod's volumes have a key of their own", hint=MAKE_A_KEY)
        url = (template or S3_URL).replace("{dc}", volume.region.lower())
        return Bucket(url, volume.region, volume.volume_id, Secret(access), Secret(secret))


def usd_per_month(size_gb: int) -> float:
    """For the standard tier; only what goes beyond the first TB is cheaper."""
    cheaper = max(0, size_gb - CHEAPER_ABOVE_GB)
    return round((size_gb - cheaper) * USD_PER_GB_MONTH + cheaper * USD_PER_GB_MONTH_ABOVE, 2)


def _volume(said: Json) -> Volume:
    size_gb = int(amount(said.get("size")) or 0)
    # The high-performance tier costs more, and only RunPod's console says how much.
    price = None if said.get("type") == "HIGH_PERFORMANCE" else usd_per_month(size_gb)
    region = text(said, "dataCenter") or text(said, "dataCenterId")
    return Volume("runpod", id_of(said), text(said, "name"), size_gb, region, price)
