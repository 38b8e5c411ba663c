"""A row of Vast.ai's search as JSON Schema: its OpenAPI file has an example of one, and says nothing of types.

Names and types are those of that example; what is missing there or null in other answers is as clients have recorded it
(dstackai/gpuhunt; vast-ai/vast-cli; recorded offers of 2026). Of each answer the first row is checked: it takes a
millisecond.
"""

from collections.abc import Mapping
from typing import Any

_NAMES: Mapping[str, tuple[str, ...]] = {
    "integer": (
        *("id", "ask_contract_id", "bundle_id", "machine_id", "host_id", "rn", "gpu_ram", "gpu_total_ram", "num_gpus"),
        *("gpu_lanes", "compute_cap", "driver_vers", "cpu_ram", "has_avx", "direct_port_count", "hosting_type"),
        "vericode",
    ),
    "number": (
        *("gpu_frac", "gpu_max_power", "gpu_max_temp", "gpu_mem_bw", "bw_nvlink", "pci_gen", "pcie_bw", "cpu_ghz"),
        *("disk_bw", "disk_space", "inet_down", "inet_up", "reliability", "reliability2", "reliability_mult"),
        *("dph_base", "dph_total", "dph_total_adj", "min_bid", "storage_cost", "storage_total_cost", "discount_rate"),
        *("discounted_hourly", "discounted_dph_total", "credit_discount_max", "vram_costperhour", "score", "dlperf"),
        *("inet_down_cost", "inet_up_cost", "internet_down_cost_per_tb", "internet_up_cost_per_tb", "total_flops"),
        *("dlperf_per_dphtotal", "flops_per_dphtotal", "start_date", "end_date", "duration", "expected_reliability"),
    ),
    "string": (
        *("gpu_name", "gpu_arch", "cpu_name", "cpu_arch", "disk_name", "driver_version", "mobo_name", "os_version"),
        *("verification", "public_ipaddr", "resource_type", "logo", "time_remaining", "time_remaining_isbid"),
    ),
    "boolean": ("rentable", "is_bid", "static_ip", "gpu_display_active", "vms_enabled", "is_vm_deverified"),
    "object": ("search", "instance"),
    "array": ("gpu_ids",),
}
_OR_NULL: Mapping[str, str] = {
    **dict.fromkeys(("cuda_max_good", "cpu_cores", "cpu_cores_effective", "geolocode", "cluster_id"), "number"),
    **dict.fromkeys(("target_reliability", "avail_vol_ask_id", "avail_vol_dph", "avail_vol_size"), "number"),
    **dict.fromkeys(("nw_disk_min_bw", "nw_disk_max_bw", "nw_disk_avg_bw"), "number"),
    **dict.fromkeys(("geolocation", "hostname", "webpage", "bundled_results"), "string"),
    **dict.fromkeys(("rented", "external"), "boolean"),
}

_TYPES = {name: {"type": kind} for kind, names in _NAMES.items() for name in names}
_NULLABLE = {name: {"type": [kind, "null"]} for name, kind in _OR_NULL.items()}
ROW: Mapping[str, Any] = {
    "type": "object",
    "properties": {**_TYPES, **_NULLABLE},
    "required": [*_TYPES, *_NULLABLE],
    "additionalProperties": False,
}
