"""What Lambda sells, and where: instance types, their regions with capacity, and images.

Sources: answers of the API that users recorded (names, descriptions, specifications: 2025-11; prices: 2026-08), and
skypilot-org/skypilot-catalog. A price is one number for all GPUs of a type, and the same in every region. Which regions
have capacity changes by the minute: here it is what was seen often.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from ..server import Request, Response, Route
from .answers import data

REGIONS: Mapping[str, str] = {
    "us-east-1": "Virginia, USA",
    "us-east-2": "Washington DC, USA",
    "us-east-3": "Washington DC, USA",
    "us-southeast-1": "Georgia, USA",
    "us-midwest-1": "Illinois, USA",
    "us-midwest-2": "Illinois, USA",
    "us-south-1": "Texas, USA",
    "us-south-2": "North Texas, USA",
    "us-south-3": "Central Texas, USA",
    "us-west-1": "California, USA",
    "us-west-2": "Arizona, USA",
    "us-west-3": "Utah, USA",
    "europe-central-1": "Germany",
    "asia-south-1": "India",
    "asia-northeast-1": "Osaka, Japan",
}


@dataclass(frozen=True)
class InstanceType:
    """One type, as the API describes it."""

    description: str
    cents: int
    """Per hour, for the whole machine."""
    vcpus: int
    memory_gib: int
    storage_gib: int
    gpus: int
    regions: Sequence[str] = ()
    """With capacity, unless told otherwise."""

    @property
    def gpu_description(self) -> str:
        return self.description.partition("x ")[2] if self.gpus else "N/A"

    def as_json(self, name: str) -> dict[str, Any]:
        specs = {"vcpus": self.vcpus, "memory_gib": self.memory_gib, "storage_gib": self.storage_gib, "gpus": self.gpus}
        return {
            "name": name,
            "description": self.description,
            "gpu_description": self.gpu_description,
            "price_cents_per_hour": self.cents,
            "specs": specs,
        }


TYPES: Mapping[str, InstanceType] = {
    "gpu_1x_gh200": InstanceType("1x GH200 (96 GB)", 229, 64, 432, 4096, 1, ("us-east-3",)),
    "gpu_1x_h100_pcie": InstanceType("1x H100 (80 GB PCIe)", 329, 26, 200, 1024, 1, ("us-west-3",)),
    "gpu_1x_h100_sxm5": InstanceType("1x H100 (80 GB SXM5)", 429, 26, 225, 2816, 1, ("us-south-2", "us-south-3")),
    "gpu_2x_h100_sxm5": InstanceType("2x H100 (80 GB SXM5)", 838, 52, 450, 5632, 2, ("us-south-3",)),
    "gpu_4x_h100_sxm5": InstanceType("4x H100 (80 GB SXM5)", 1636, 104, 900, 11264, 4),
    "gpu_8x_h100_sxm5": InstanceType("8x H100 (80 GB SXM5)", 3192, 208, 1800, 22528, 8, ("us-south-3",)),
    "gpu_1x_b200_sxm6": InstanceType("1x B200 (180 GB SXM6)", 699, 26, 360, 2816, 1),
    "gpu_2x_b200_sxm6": InstanceType("2x B200 (180 GB SXM6)", 1378, 52, 720, 5632, 2),
    "gpu_8x_b200_sxm6": InstanceType("8x B200 (180 GB SXM6)", 5352, 208, 2900, 22528, 8, ("us-east-1",)),
    "gpu_8x_a100_80gb_sxm4": InstanceType("8x A100 (80 GB SXM4)", 2232, 240, 1800, 20480, 8, ("us-midwest-1",)),
    "gpu_8x_a100": InstanceType("8x A100 (40 GB SXM4)", 1592, 124, 1800, 6144, 8, ("us-west-2",)),
    "gpu_4x_a100": InstanceType("4x A100 (40 GB PCIe)", 796, 120, 800, 1024, 4),
    "gpu_2x_a100": InstanceType("2x A100 (40 GB PCIe)", 398, 60, 400, 1024, 2),
    "gpu_1x_a100": InstanceType("1x A100 (40 GB PCIe)", 199, 30, 200, 512, 1),
    "gpu_1x_a100_sxm4": InstanceType("1x A100 (40 GB SXM4)", 199, 30, 200, 512, 1, ("us-east-1", "us-west-2")),
    "gpu_1x_a10": InstanceType("1x A10 (24 GB PCIe)", 129, 30, 200, 1400, 1, ("us-east-1", "us-west-1")),
    "gpu_4x_a6000": InstanceType("4x A6000 (48 GB)", 436, 56, 400, 1024, 4),
    "gpu_2x_a6000": InstanceType("2x A6000 (48 GB)", 218, 28, 200, 1024, 2),
    "gpu_1x_a6000": InstanceType("1x A6000 (48 GB)", 109, 14, 100, 200, 1, ("us-south-1",)),
    "gpu_1x_rtx6000": InstanceType("1x RTX 6000 (24 GB)", 69, 14, 46, 512, 1),
    "gpu_8x_v100": InstanceType("8x Tesla V100 (16 GB)", 632, 92, 448, 6041, 8, ("us-south-1",)),
    "cpu_4x_general": InstanceType("4x CPU General (16 GiB)", 20, 4, 16, 100, 0, ("us-east-1",)),
}

ARM_REGIONS, V100_REGIONS = ("us-east-3",), ("us-south-1", "us-south-2")
ARM_TYPES = ("gh200", "gb200")
UPDATED = "2026-08-01T00:00:00Z"


@dataclass(frozen=True)
class Image:
    """A family of images in one region; of each there is one version."""

    family: str
    architecture: str
    region: str

    @property
    def id(self) -> str:
        return md5(repr(self).encode(), usedforsecurity=False).hexdigest()

    def as_json(self) -> dict[str, Any]:
        name = self.family.replace("-", " ").title()
        return {
            "id": self.id,
            "created_time": UPDATED,
            "updated_time": UPDATED,
            "name": name,
            "description": name,
            "family": self.family,
            "version": "1.0.0",
            "architecture": self.architecture,
            "region": region_json(self.region),
        }


KINDS_OF_IMAGES = ("lambda-stack", "gpu-base", "ubuntu")
IMAGES = (
    *(
        Image(f"{kind}-{year}-04", "x86_64", region)
        for kind in KINDS_OF_IMAGES
        for year in (22, 24)
        for region in REGIONS
    ),
    *(Image(f"lambda-stack-{year}-04", "arm64", region) for year in (22, 24) for region in ARM_REGIONS),
    *(Image("lambda-stack-legacy-22-04", "x86_64", region) for region in V100_REGIONS),
)


def region_json(name: str) -> dict[str, str]:
    return {"name": name, "description": REGIONS[name]}


def architecture(type_name: str) -> str:
    """The API does not tell it; only names do."""
    return "arm64" if type_name.endswith(ARM_TYPES) else "x86_64"


def images_for(type_name: str, region: str) -> Iterator[Image]:
    """Those that such an instance can start from."""
    return (one for one in IMAGES if one.region == region and one.architecture == architecture(type_name))


class Catalogue:
    """What is for sale now."""

    def __init__(self, stock: Mapping[str, Sequence[str]]) -> None:
        """`stock`: the regions with capacity for some types; the others have their usual ones."""
        named = {*stock, *(region for regions in stock.values() for region in regions)}
        if strange := named - {*TYPES, *REGIONS}:
            raise ValueError(f"there is no {', '.join(sorted(strange))}")
        self.regions = {name: tuple(stock.get(name, kind.regions)) for name, kind in TYPES.items()}
        """With capacity, by type."""

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/instance-types", self._types, call="offers"),
            Route("GET", "/api/v1/images", lambda _: data([image.as_json() for image in IMAGES]), call="account"),
        ]

    def _types(self, _: Request) -> Response:
        return data({name: self._item(name, kind) for name, kind in TYPES.items()})

    def _item(self, name: str, kind: InstanceType) -> dict[str, Any]:
        regions = [region_json(region) for region in self.regions[name]]
        return {"instance_type": kind.as_json(name), "regions_with_capacity_available": regions}
