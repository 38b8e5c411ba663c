"""What is for sale: each machine by slices of its cards, as rows of a search.

What the sources say, and this does:
- One machine is several offers, one for each size; what is rented is missing from the others (recorded offers of a
  B300: 2 and 4 cards).
- The id of an offer is that of an ask, which lives for minutes: one machine had three within minutes (a session with
  the CLI 1.6.0, 2026-09). One id makes one instance.
- `dph_total` is `dph_base` and the disk, `storage_cost * GB / 720`, of `allocated_storage` GB, 8 unless told (so in
  eight recorded offers); for bids it is the least bid and the disk.
- `disk_space`, `cpu_ram` and `min_bid` are the slice's (recorded offers of a B300).
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .machines import Machine

SIZES = (1, 2, 4, 8)
HOURS_PER_MONTH = 720.0
USUAL_STORAGE_GB = 8.0
DAY_S = 86_400.0


@dataclass(frozen=True)
class Ask:
    """A slice of a machine, under an id."""

    id: int
    machine: Machine
    gpus: int

    @property
    def share(self) -> float:
        return self.gpus / self.machine.gpus

    @property
    def base_usd(self) -> float:
        """Per hour, for the slice without its disk."""
        return round(self.machine.gpu_usd * self.gpus, 6)

    @property
    def min_bid_usd(self) -> float:
        return round(self.base_usd * self.machine.min_bid, 6)

    @property
    def disk_gb(self) -> float:
        """How large a disk may be."""
        return round(self.machine.disk_gb * self.share, 1)

    def storage_usd(self, disk_gb: float) -> float:
        """Per hour."""
        return self.machine.disk_usd * disk_gb / HOURS_PER_MONTH


class Asks:
    """All asks. Its methods are called under the cloud's lock."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._ids = itertools.count(random.randrange(20_000_000, 30_000_000))
        self._free = {machine.id: machine.gpus for machine in machines}
        self._asks: dict[int, Ask] = {}
        for machine in machines:
            self._offer(machine)

    def __iter__(self) -> Iterator[Ask]:
        """Those that can be rented now."""
        return filter(self.are_free, self._asks.values())

    def get(self, id: int) -> Ask | None:  # noqa: A002
        ask = self._asks.get(id)
        return ask if ask and self.are_free(ask) else None

    def are_free(self, ask: Ask) -> bool:
        """Whether the machine has so many cards left."""
        return ask.gpus <= self._free[ask.machine.id]

    def renew(self) -> None:
        """All have other ids from now on."""
        for machine in {ask.machine.id: ask.machine for ask in self._asks.values()}.values():
            self._offer(machine)

    def take(self, ask: Ask) -> None:
        """It is rented, and the rest of the machine has other ids."""
        self._free[ask.machine.id] -= ask.gpus
        self._offer(ask.machine)

    def give_back(self, ask: Ask) -> None:
        self._free[ask.machine.id] += ask.gpus
        self._offer(ask.machine)

    def _offer(self, machine: Machine) -> None:
        self._asks = {id_: ask for id_, ask in self._asks.items() if ask.machine is not machine}
        for gpus in SIZES:
            if gpus <= machine.gpus:
                id_ = next(self._ids)
                self._asks[id_] = Ask(id_, machine, gpus)


def row(ask: Ask, now: float, storage_gb: float = USUAL_STORAGE_GB, *, is_bid: bool = False) -> dict[str, Any]:
    """The offer as a search shows it."""
    return {**_identity(ask), **_gpu(ask), **_host(ask), **_contract(ask, now), **_prices(ask, storage_gb, is_bid)}


def _identity(ask: Ask) -> dict[str, Any]:
    machine = ask.machine
    return {
        "id": ask.id,
        "ask_contract_id": ask.id,
        "bundle_id": machine.id * 100 + ask.gpus,
        "bundled_results": None,
        "machine_id": machine.id,
        "host_id": machine.host,
        "hostname": None,
        "resource_type": "gpu",
        "cluster_id": None,
        "logo": "/static/logos/vastai_small2.png",
        "webpage": None,
        "rn": 1,
    }


def _gpu(ask: Ask) -> dict[str, Any]:
    machine, card = ask.machine, ask.machine.card
    tflops = card.tflops * ask.gpus
    return {
        "gpu_name": machine.gpu_name,
        "gpu_arch": card.arch,
        "num_gpus": ask.gpus,
        "gpu_frac": ask.share,
        "gpu_ids": [machine.id * 10 + number for number in range(ask.gpus)],
        "gpu_ram": card.gpu_ram,
        "gpu_total_ram": card.gpu_ram * ask.gpus,
        "gpu_mem_bw": card.memory_gb_per_s * 0.87,
        "gpu_lanes": 16,
        "gpu_max_power": machine.max_watts or card.watts,
        "gpu_max_temp": 84.0,
        "gpu_display_active": False,
        "bw_nvlink": card.nvlink_gb_per_s,
        "compute_cap": card.compute_cap,
        "cuda_max_good": machine.cuda,
        "driver_version": machine.driver,
        "driver_vers": driver_number(machine.driver),
        "total_flops": tflops,
        "dlperf": tflops * 3.1,
        "dlperf_per_dphtotal": tflops * 3.1 / ask.base_usd,
        "flops_per_dphtotal": tflops / ask.base_usd,
        "vram_costperhour": ask.base_usd / (card.gpu_ram * ask.gpus),
    }


def driver_number(version: str) -> int:
    """580.105.08 is 580105008."""
    major, minor, patch = ([int(part) for part in version.split(".")] + [0, 0])[:3]
    return major * 1_000_000 + minor * 1_000 + patch


def _host(ask: Ask) -> dict[str, Any]:
    machine = ask.machine
    return {
        "cpu_arch": machine.cpu_arch,
        "cpu_cores": machine.cores,
        "cpu_cores_effective": machine.cores and machine.cores * ask.share,
        "cpu_ghz": 2.45,
        "cpu_name": "AMD EPYC 9354 32-Core Processor" if machine.cpu_arch == "amd64" else "Neoverse-V2",
        "cpu_ram": int(machine.ram_gb * 1000 * ask.share),
        "has_avx": int(machine.cpu_arch == "amd64"),
        "mobo_name": "H13DSG-O-CPU",
        "os_version": "22.04",
        "pci_gen": 5.0,
        "pcie_bw": 52.4,
        "disk_bw": 4120.0,
        "disk_name": "SAMSUNG MZQL23T8HCLS",
        "disk_space": ask.disk_gb,
        "inet_down": machine.down_mbps,
        "inet_up": machine.down_mbps * 0.8,
        "direct_port_count": int(machine.ports * ask.share),
        "static_ip": machine.datacenter,
        "public_ipaddr": f"203.0.113.{machine.host % 250}",
        "geolocation": machine.place,
        "geolocode": None if machine.place is None else hash_of_country(machine.place[-2:]),
        "hosting_type": int(machine.datacenter),
        "vms_enabled": machine.datacenter,
        "is_vm_deverified": False,
        "reliability": machine.reliability,
        "reliability2": machine.reliability,
        "reliability_mult": machine.reliability,
        "expected_reliability": 0.0,
        "target_reliability": None,
        "verification": machine.verification,
        "vericode": int(machine.verification == "verified"),
        "avail_vol_ask_id": None,
        "avail_vol_dph": None,
        "avail_vol_size": None,
        **dict.fromkeys(("nw_disk_min_bw", "nw_disk_max_bw", "nw_disk_avg_bw")),
    }


def hash_of_country(code: str) -> int:
    return int.from_bytes(code.encode(), "big")


def _contract(ask: Ask, now: float) -> dict[str, Any]:
    left_s = ask.machine.days * DAY_S
    return {
        "start_date": now - 30 * DAY_S,
        "end_date": now + left_s,
        "duration": left_s,
        "rentable": True,
        "rented": None,
        "external": None,
        "time_remaining": "",
        "time_remaining_isbid": "",
    }


def _prices(ask: Ask, storage_gb: float, is_bid: bool) -> dict[str, Any]:
    machine = ask.machine
    base_usd = ask.min_bid_usd if is_bid else ask.base_usd
    disk_usd = ask.storage_usd(storage_gb)
    total_usd = base_usd + disk_usd
    return {
        "is_bid": is_bid,
        "min_bid": ask.min_bid_usd,
        "dph_base": base_usd,
        "dph_total": total_usd,
        "dph_total_adj": total_usd + 2 * machine.down_usd,
        "storage_cost": machine.disk_usd,
        "storage_total_cost": disk_usd,
        "inet_down_cost": machine.down_usd,
        "inet_up_cost": machine.up_usd,
        "internet_down_cost_per_tb": machine.down_usd * 1024,
        "internet_up_cost_per_tb": machine.up_usd * 1024,
        "discounted_dph_total": total_usd,
        "discounted_hourly": 0.0,
        "discount_rate": 0.0,
        "credit_discount_max": 0.4 if machine.datacenter else 0.1,
        "search": hourly(base_usd, disk_usd),
        "instance": hourly(0.0, disk_usd),
        "score": machine.card.tflops * machine.reliability / machine.gpu_usd,
    }


def hourly(gpu_usd: float, disk_usd: float) -> Mapping[str, float]:
    """A price per hour in its parts."""
    return {
        "gpuCostPerHour": gpu_usd,
        "diskHour": disk_usd,
        "slaPremiumPerHour": 0.0,
        "totalHour": gpu_usd + disk_usd,
        "discountTotalHour": 0.0,
        "discountedTotalPerHour": gpu_usd + disk_usd,
    }
