"""The GPU catalogue: one name per card, and what vLLM's memory and speed depend on.

A card that differs in memory size, bandwidth or form has a name of its own; the plain name is the SXM form where
there are several. Only cards whose numbers have a source are listed.

Sources. Memory is what CUDA reports as total, the number that vLLM multiplies, as printed in published logs; where
no log was found (marked `~`) it is the figure of nvidia-smi less 1 to 3 %, as seen on the other cards. Bandwidth is
from the vendors' datasheets; where those name a range, its low end. Compute capability is from NVIDIA's table at
https://developer.nvidia.com/cuda-gpus.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Vendor(StrEnum):
    """Who makes the card, and so which build of an engine runs on it."""

    NVIDIA = "nvidia"
    AMD = "amd"


@dataclass(frozen=True)
class Gpu:
    """One card."""

    name: str
    """As users type it and every provider reports it."""
    memory_gib: float
    """As CUDA reports it: less than the number in the card's name."""
    memory_bandwidth_gb_per_s: float
    """In units of 10^9 bytes."""
    compute_capability: tuple[int, int] | None
    """None for a card that does not run CUDA."""
    vendor: Vendor = Vendor.NVIDIA


# Each card with its other spellings, by nvidia-smi, the clouds and people, in the form in which `_key` leaves them.
# One that stands at several cards needs a memory size to tell them apart.
_CATALOGUE: tuple[tuple[Gpu, str], ...] = (
    (Gpu("T4", 14.6, 320, (7, 5)), ""),  # ~
    (Gpu("V100-16GB", 15.8, 900, (7, 0)), "v100 v100sxm2 v100pcie v100sxm216gb v100pcie16gb"),  # ~
    (Gpu("V100-32GB", 31.7, 900, (7, 0)), "v100 v100sxm2 v100pcie v100sxm232gb v100pcie32gb"),  # ~
    (Gpu("A10", 22.1, 600, (8, 6)), ""),  # ~
    (Gpu("A10G", 22.1, 600, (8, 6)), ""),  # ~
    (Gpu("A40", 44.4, 696, (8, 6)), ""),  # ~
    (Gpu("A100-40GB", 39.5, 1555, (8, 0)), "a100 a100sxm a100sxm4 a100pcie a100sxm440gb a100pcie40gb a10040gbpcie"),
    (Gpu("A100-80GB", 79.2, 2039, (8, 0)), "a100 a100sxm a100sxm4 a100sxm480gb a10080gbsxm4 a10080gbsxm"),
    (Gpu("A100-80GB-PCIE", 79.2, 1935, (8, 0)), "a100pcie a100pcie80gb"),
    (Gpu("RTX-3090", 23.58, 936, (8, 6)), "3090"),
    (Gpu("RTX-A5000", 23.7, 768, (8, 6)), "a5000"),  # ~
    (Gpu("RTX-A6000", 47.4, 768, (8, 6)), "a6000"),  # ~
    (Gpu("L4", 22.1, 300, (8, 9)), ""),  # ~
    (Gpu("L40", 44.4, 864, (8, 9)), ""),  # ~
    (Gpu("L40S", 44.4, 864, (8, 9)), ""),
    (Gpu("RTX-4090", 23.55, 1008, (8, 9)), "4090"),
    (Gpu("RTX-6000-ADA", 47.5, 960, (8, 9)), "rtx6000adageneration 6000ada"),  # ~
    (Gpu("H100", 79.2, 3350, (9, 0)), "h100sxm h100sxm5 h10080gb h10080gbhbm3 h100sxm580gb h10080gbsxm5"),
    (Gpu("H100-PCIE", 79.1, 2000, (9, 0)), "h100pcie80gb h10080gbpcie"),  # ~
    (Gpu("H100-NVL", 93.0, 3900, (9, 0)), "h100nvl94gb"),  # ~
    (Gpu("H200", 139.8, 4800, (9, 0)), "h200sxm h200sxm5 h200141gb h200sxm141gb"),  # ~
    (Gpu("H200-NVL", 139.8, 4800, (9, 0)), "h200nvl141gb"),  # ~
    (Gpu("GH200", 95.0, 4000, (9, 0)), "gh200sxm gh200480gb gh20096gb"),  # the one with 96 GB
    (Gpu("RTX-5090", 31.37, 1792, (12, 0)), "5090"),
    (
        Gpu("RTX-PRO-6000", 94.97, 1792, (12, 0)),
        "rtxpro6000ws rtxpro6000maxq rtxpro6000blackwell rtxpro6000blackwellworkstationedition "
        "rtxpro6000blackwellmaxqworkstationedition",
    ),
    (Gpu("RTX-PRO-6000-SERVER", 94.97, 1597, (12, 0)), "rtxpro6000s rtxpro6000blackwellserveredition"),
    (Gpu("B200", 178, 7700, (10, 0)), "b200sxm b200sxm6"),  # ~
    (Gpu("B300", 268, 7750, (10, 3)), "b300sxm6 b300sxm6ac"),  # ~
    (Gpu("MI300X", 191.98, 5300, None, Vendor.AMD), "mi300xoam"),
)

GPUS = {gpu.name: gpu for gpu, _ in _CATALOGUE}
"""Every card by its name."""

_MAKERS = {"nvidia", "geforce", "tesla", "amd", "instinct"}


def canonical(spelling: str, memory_gib: float | None = None) -> Gpu | None:
    """The card that this spelling names for certain; None when that is no card of ours, or could be several.

    With `memory_gib`, as sold or as measured, a card of another size is not meant: `A100` needs it to say which, and
    a slice of a card, or a part with less memory under a known name, is not taken for the whole.
    """
    key = _key(spelling)
    meant = [gpu for gpu, others in _CATALOGUE if key in (_key(gpu.name), *others.split())]
    fitting = [gpu for gpu in meant if memory_gib is None or _is_size_of(gpu, memory_gib)]
    return fitting[0] if len(fitting) == 1 else None


def _key(spelling: str) -> str:
    return "".join(word for word in re.split(r"[\s_-]+", spelling.lower()) if word not in _MAKERS)


def _is_size_of(gpu: Gpu, memory_gib: float) -> bool:
    """Clouds give the number in the card's name, which is up to a tenth more than what CUDA has of it (T4: 16)."""
    return 0.95 <= memory_gib / gpu.memory_gib <= 1.10
