"""A row of Vast.ai's search, read: an ask, which is what its hosts call an offer."""

from dataclasses import dataclass

from gpu_providers.gpus import Gpu
from gpu_providers.values import Json, number, text
from gpu_providers.vast.names import from_vast

HOURS_PER_MONTH = 720
"""Of its prices by the month: base plus disk is the total of recorded answers with no other."""


@dataclass(frozen=True)
class Ask:
    """What a host asks for a number of its GPUs."""

    ask_id: int
    machine_id: int
    gpu_name: str
    gpu: Gpu
    gpu_count: int
    compute_usd_per_hour: float
    """For all of its GPUs; of spot the lowest bid that would win."""
    disk_usd_per_gb_hour: float
    traffic_usd_per_gb: float
    region: str
    inet_down_mbps: float | None
    reliability: float | None
    """The share of time that the host was up."""

    def usd_per_hour(self, disk_gb: float) -> float:
        """With so much disk."""
        return self.compute_usd_per_hour + self.disk_usd_per_gb_hour * disk_gb


def read_ask(row: Json, *, spot: bool) -> Ask | None:
    """None for a row that does not say what it is or all that it costs, and for a card that our catalogue lacks.

    Nor for a machine that lost Vast.ai's word for it, which is worse than never to have had it.
    """
    ask_id, machine_id, count = (_whole(row, name) for name in ("id", "machine_id", "num_gpus"))
    gpu = from_vast(text(row, "gpu_name"), number(row.get("gpu_ram")))
    compute = _price(row, "min_bid" if spot else "dph_base")
    disk, traffic = _price(row, "storage_cost"), _price(row, "inet_down_cost")
    if not ask_id or not machine_id or not count or not gpu or not compute or disk is None or traffic is None:
        return None
    if text(row, "verification") == "deverified":
        return None
    return Ask(
        ask_id=ask_id,
        machine_id=machine_id,
        gpu_name=text(row, "gpu_name"),
        gpu=gpu,
        gpu_count=count,
        compute_usd_per_hour=compute,
        disk_usd_per_gb_hour=disk / HOURS_PER_MONTH,
        traffic_usd_per_gb=traffic,
        region=text(row, "geolocation").strip(" ,"),
        inet_down_mbps=number(row.get("inet_down")),
        reliability=number(row.get("reliability")),
    )


def _whole(row: Json, name: str) -> int | None:
    value = number(row.get(name))
    return int(value) if value is not None and value > 0 and value.is_integer() else None


def _price(row: Json, name: str) -> float | None:
    value = number(row.get(name))
    return value if value is not None and value >= 0 else None
