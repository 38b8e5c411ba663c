"""What the emulated RunPod has: cards with prices per GPU and hour, data centers, and where how much is free.

Ids, memory, pools and data centers are RunPod's (docs "GPU types", recorded catalogues); prices are those recorded in
August 2026 where there are any, and otherwise of their order of magnitude. The stock is made up, to have every case:
see CARDS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

SECURE, COMMUNITY = "SECURE", "COMMUNITY"
FREE: Mapping[str, int] = {"NONE": 0, "LOW": 2, "MEDIUM": 4, "HIGH": 8}
"""For each level of stock, how many GPUs of one machine are free together."""
NEW_HOSTS = ("12.8", "12.9", "13.0")
OLD_HOSTS = ("12.4", "12.8")


@dataclass(frozen=True)
class DataCenter:
    id: str
    name: str
    region: str
    country: str
    volumes: tuple[str, ...] = ("STANDARD",)
    """The kinds of network volume that it has."""


DATA_CENTERS: Mapping[str, DataCenter] = {
    center.id: center
    for center in (
        DataCenter("US-KS-2", "US Kansas 2", "NORTH_AMERICA", "US", ("STANDARD", "HIGH_PERFORMANCE")),
        DataCenter("US-TX-3", "US Texas 3", "NORTH_AMERICA", "US", ()),
        DataCenter("US-CA-2", "US California 2", "NORTH_AMERICA", "US"),
        DataCenter("CA-MTL-1", "Canada Montreal 1", "NORTH_AMERICA", "CA", ()),
        DataCenter("EU-RO-1", "Romania 1", "EUROPE", "RO"),
        DataCenter("EU-CZ-1", "Czechia 1", "EUROPE", "CZ"),
        DataCenter("EU-SE-1", "Sweden 1", "EUROPE", "SE", ()),
        DataCenter("EUR-IS-1", "Iceland 1", "EUROPE", "IS"),
        DataCenter("AP-JP-1", "Japan 1", "ASIA", "JP", ()),
    )
}


@dataclass(frozen=True)
class Price:
    """Of one GPU, in $ per hour; None where it is not to be had."""

    secure: float | None
    community: float | None
    serverless: float | None


@dataclass(frozen=True)
class Card:
    """One GPU type."""

    id: str
    name: str
    memory_gb: int
    pool: str | None
    price: Price
    secure: Mapping[str, str] = field(default_factory=dict)
    """The level of stock by data center, where there are such machines at all."""
    community: Mapping[str, str] = field(default_factory=dict)
    most_secure: int = 8
    most_community: int = 4
    """GPUs of the largest machine."""
    cuda: tuple[str, ...] = NEW_HOSTS
    """What the hosts' drivers report, the newest last; AMD's hosts report none."""
    manufacturer: str = "NVIDIA"

    def usd_per_hour(self, cloud: str) -> float:
        """For one GPU; 0 where the cloud has none of them."""
        return (self.price.secure if cloud == SECURE else self.price.community) or 0.0

    def most(self, cloud: str) -> int:
        return self.most_secure if cloud == SECURE else self.most_community

    def stock(self, cloud: str) -> Mapping[str, str]:
        return self.secure if cloud == SECURE else self.community

    def at_level(self, level: str) -> "Card":
        """The same card with so much of it wherever there are such machines."""
        return replace(self, secure=dict.fromkeys(self.secure, level), community=dict.fromkeys(self.community, level))

    def can_place(self, cloud: str, data_center: str, count: int) -> bool:
        """Whether one machine there has so many free."""
        return count <= min(self.most(cloud), FREE[self.stock(cloud).get(data_center, "NONE")])


CARDS = (
    Card(
        "NVIDIA GeForce RTX 4090",
        "RTX 4090",
        24,
        "ADA_24",
        Price(0.74, 0.34, 1.12),
        secure={"EU-RO-1": "HIGH", "US-TX-3": "MEDIUM", "EUR-IS-1": "LOW"},
        community={"CA-MTL-1": "HIGH", "EU-SE-1": "LOW"},
        cuda=("12.4", "12.8", "13.0"),
    ),
    Card("NVIDIA L4", "L4", 24, "AMPERE_24", Price(0.43, None, 0.69), secure={"US-KS-2": "HIGH", "EU-RO-1": "LOW"}),
    Card(
        "NVIDIA GeForce RTX 5090",
        "RTX 5090",
        32,
        "ADA_32_PRO",
        Price(0.94, 0.69, 1.58),
        secure={"EU-RO-1": "MEDIUM"},
        community={"CA-MTL-1": "LOW"},
    ),
    Card(
        "NVIDIA RTX A6000",
        "RTX A6000",
        48,
        "AMPERE_48",
        Price(0.53, 0.33, 1.22),
        secure={"EU-SE-1": "HIGH"},
        community={"EU-SE-1": "MEDIUM"},
        cuda=OLD_HOSTS,  # no machine for an image of CUDA 13
    ),
    Card(
        "NVIDIA L40S", "L40S", 48, "ADA_48_PRO", Price(0.99, 0.79, 1.90), secure={"US-TX-3": "HIGH", "US-CA-2": "LOW"}
    ),
    Card(
        "NVIDIA A100-SXM4-80GB",
        "A100 SXM",
        80,
        "AMPERE_80",
        Price(1.59, 1.39, 2.72),
        secure={"US-KS-2": "MEDIUM", "EUR-IS-1": "LOW"},
    ),
    Card("NVIDIA H100 PCIe", "H100 PCIe", 80, "ADA_80_PRO", Price(2.49, 1.99, 4.18), secure={"US-KS-2": "LOW"}),
    Card(
        "NVIDIA H100 80GB HBM3",
        "H100 SXM",
        80,
        "ADA_80_PRO",
        Price(2.79, 2.59, 4.18),
        secure={"US-KS-2": "HIGH", "EU-CZ-1": "MEDIUM"},
    ),
    # listed for the community's price, and no machine of theirs has one (recorded 2026-08)
    Card("NVIDIA H100 NVL", "H100 NVL", 94, "ADA_80_PRO", Price(2.59, 1.39, 4.18), secure={"US-KS-2": "LOW"}),
    Card(
        "NVIDIA H200",
        "H200 SXM",
        141,
        "HOPPER_141",
        Price(3.59, None, 5.58),
        secure={"US-CA-2": "HIGH", "AP-JP-1": "LOW"},
    ),
    # a price and not one of them
    Card(
        "NVIDIA B200", "B200", 180, "BLACKWELL_180", Price(5.89, None, 8.64), secure={"US-CA-2": "NONE"}, cuda=("13.0",)
    ),
    Card(
        "AMD Instinct MI300X OAM",
        "MI300X",
        192,
        None,
        Price(2.39, 0.50, None),
        secure={"EU-RO-1": "MEDIUM"},
        cuda=(),
        manufacturer="AMD",
    ),
    # the community's alone; the secure cloud's price is then 0
    Card("NVIDIA GeForce RTX 3070", "RTX 3070", 8, None, Price(None, 0.13, None), community={"CA-MTL-1": "MEDIUM"}),
    Card(
        "NVIDIA RTX 2000 Ada Generation",
        "RTX 2000 Ada",
        16,
        "AMPERE_16",
        Price(0.24, 0.16, 0.58),
        secure={"EU-RO-1": "HIGH"},
    ),
)
