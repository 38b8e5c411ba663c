"""What Modal charges: by the hour of a GPU, a physical core and a GiB of memory, times what a region costs.

Sources: the keys and the list prices that `modal billing rates --json` told in August and September 2026; the pages
"GPU acceleration", "Region selection" and "Reserving CPU and memory" of Modal's guide.
"""

from collections.abc import Iterable, Mapping

from modal_proto import api_pb2

CPU, MEMORY = "cpu_hour_cost", "mem_gib_hour_cost"
LISTED: Mapping[str, str] = {
    "gpu_hour_cost_t4": "0.59",
    "gpu_hour_cost_l4": "0.80",
    "gpu_hour_cost_a10g": "1.10",
    "gpu_hour_cost_l40s": "1.95",
    "gpu_hour_cost_a100_40gb": "2.10",
    "gpu_hour_cost_a100_80gb": "2.50",
    "gpu_hour_cost_rtx6000": "3.03",
    "gpu_hour_cost_h100": "3.95",
    "gpu_hour_cost_h200": "4.54",
    "gpu_hour_cost_b200": "6.25",
    "gpu_hour_cost_b300": "7.10",
    CPU: "0.0473",
    "cpu_hour_cost_sandbox": "0.1419",
    MEMORY: "0.008",
    "mem_gib_hour_cost_sandbox": "0.024",
    "volume_storage_gib_month_cost": "0.09",
}
"""USD, by the keys of WorkspaceBillingRates."""
GPUS: Mapping[str, tuple[str, int]] = {
    "T4": ("t4", 8),
    "L4": ("l4", 8),
    "A10": ("a10g", 4),
    "A10G": ("a10g", 4),
    "L40S": ("l40s", 8),
    "A100": ("a100_40gb", 8),
    "A100-40GB": ("a100_40gb", 8),
    "A100-80GB": ("a100_80gb", 8),
    "RTX-PRO-6000": ("rtx6000", 1),
    "H100": ("h100", 8),
    "H100!": ("h100", 8),
    "H200": ("h200", 8),
    "B200": ("b200", 8),
    "B200+": ("b200", 8),
    "B300": ("b300", 8),
}
"""What may be asked for: the end of its key above, and how many of it one container may have."""
BROAD, NARROW = 1.5, 1.75
"""Times what a container costs that may only be in such a region: `us` is a broad one, `us-east` a narrow one."""
DEFAULT_MILLI_CPU, DEFAULT_MEMORY_MIB = 125, 128


def container_usd_per_hour(function: api_pb2.Function, gpu: api_pb2.GPUConfig) -> float:
    """Of a container of that function which was given that choice of GPUs."""
    return sum(resource_usd_per_hour(function, gpu).values())


def resource_usd_per_hour(function: api_pb2.Function, gpu: api_pb2.GPUConfig) -> dict[str, float]:
    """The parts of that, named as a billing report names resources."""
    asked = function.resources
    cores = (asked.milli_cpu or DEFAULT_MILLI_CPU) / 1000
    memory_gib = (asked.memory_mb or DEFAULT_MEMORY_MIB) / 1024
    parts = {"CPU": cores * _usd(CPU), "Memory": memory_gib * _usd(MEMORY)}
    if gpu.count:
        parts[f"GPU {gpu.gpu_type}"] = gpu.count * _usd(f"gpu_hour_cost_{GPUS[gpu.gpu_type][0]}")
    times = region_multiplier(function.scheduler_placement.regions)
    return {name: usd * times for name, usd in parts.items()}


def region_multiplier(regions: Iterable[str]) -> float:
    """Of several the cheapest counts."""
    return min((NARROW if "-" in region else BROAD for region in regions), default=1.0)


def _usd(key: str) -> float:
    return float(LISTED[key])
