"""The GPU catalogue: one name per card, and what vLLM's memory and speed depend on.

A card that differs in memory size, bandwidth or form has a name of its own; the plain name is the SXM form where
there are several. Only cards whose numbers have a source are listed, and none too small for any model of interest.

Sources. Memory is what CUDA reports as total, the number that vLLM multiplies, as printed in published logs, with
ECC on or off as on most machines; drivers differ by up to 1 %. Where no log was found (marked `~`) it is the figure of
nvidia-smi less 1 to 3 %, as seen on the other cards. Bandwidth, TFLOPS and links are from the vendors'
datasheets and NVIDIA's architecture whitepapers, in part as quoted by others; where those name a range, its low end.
TFLOPS "with sparsity" are halved; where a datasheet names no others than those of FP8 (RTX Ada) or FP4 (RTX PRO), bf16
has a fourth or an eighth of them. Where no quotation was found (marked `*`) TFLOPS are computed: those of FP32, by
TechPowerUp's cores and boost clock, times 2 for GeForce and 4 for workstations, which is the whitepapers' ratio.
Compute capability is from NVIDIA's table at https://developer.nvidia.com/cuda-gpus.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class Vendor(StrEnum):
    """Who makes the card, and so which build of an engine runs on it."""

    NVIDIA = "nvidia"
    AMD = "amd"


@dataclass(frozen=True)
class Link:
    """How cards of one kind in one machine reach each other."""

    gb_per_s: float
    """Of one card in ONE direction, in units of 10^9 bytes: half of what NVIDIA prints for NVLink."""
    latency_us: float
    """Of one step of a collective with next to no data; of a whole all-reduce where all cards reach all others. From
    nobody's datasheet: NVLink's fits published speeds, the others are what NCCL's tests usually show."""
    all_to_all: bool = False
    """NVLink switches or Infinity Fabric; else PCIe, and a collective goes round the cards in a ring."""
    peer_to_peer: bool = True
    """False where the driver lets no card write to another, so that everything goes through the machine's memory."""


NVLINK_3 = Link(300, 12, all_to_all=True)
NVLINK_4 = Link(450, 10, all_to_all=True)
NVLINK_5 = Link(900, 8, all_to_all=True)
INFINITY_FABRIC = Link(448, 60, all_to_all=True)
PCIE_3 = Link(16, 6)
PCIE_4 = Link(32, 6)
PCIE_4_X8 = Link(16, 6)
PCIE_5 = Link(64, 6)
# GeForce cards since Turing have no peer to peer over PCIe: the driver does not offer it.
GEFORCE_PCIE_4 = Link(32, 18, peer_to_peer=False)
GEFORCE_PCIE_5 = Link(64, 18, peer_to_peer=False)


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
    half_tflops: float
    """Dense, of bf16 with fp32 accumulation; of fp16 on cards before 8.0, which have no bf16."""
    fp8_tflops: float | None
    """Dense; None where FP8 is no native type."""
    fp4_tflops: float | None
    """Dense; None where FP4 is no native type."""
    link: Link
    """As rented: a bridge between two PCIe cards is rarely there, and is not counted."""
    vendor: Vendor = Vendor.NVIDIA

    @property
    def geforce(self) -> bool:
        """Made for games: tensor cores slowed down to half while they add up in 32 bits."""
        return bool(re.match(r"RTX-[345]0[6-9]0", self.name))


# Each card with its other spellings, by nvidia-smi, the clouds and people, in the form in which `_key` leaves them.
# One that stands at several cards needs a memory size to tell them apart.
_CATALOGUE: tuple[tuple[Gpu, str], ...] = (
    (Gpu("T4", 14.56, 320, (7, 5), 65, None, None, PCIE_3), ""),
    # The forms of the V100 differ in links and TFLOPS but not in name; the figures are those of the slower one.
    (
        Gpu("V100-16GB", 15.75, 900, (7, 0), 112, None, None, PCIE_3),
        "v100 v100sxm2 v100pcie v100sxm216gb v100pcie16gb",
    ),
    (
        Gpu("V100-32GB", 31.73, 900, (7, 0), 112, None, None, PCIE_3),
        "v100 v100sxm2 v100pcie v100sxm232gb v100pcie32gb",
    ),
    (Gpu("A10", 22.1, 600, (8, 6), 125, None, None, PCIE_4), ""),
    (Gpu("A10G", 22.06, 600, (8, 6), 70, None, None, PCIE_4), ""),
    (Gpu("A30", 23.49, 933, (8, 0), 165, None, None, PCIE_4), ""),
    (Gpu("A40", 44.35, 696, (8, 6), 150, None, None, PCIE_4), ""),
    (Gpu("A100-40GB", 39.5, 1555, (8, 0), 312, None, None, NVLINK_3), "a100 a100sxm a100sxm4 a100sxm440gb"),
    (Gpu("A100-40GB-PCIE", 39.5, 1555, (8, 0), 312, None, None, PCIE_4), "a100pcie a100pcie40gb"),
    (
        Gpu("A100-80GB", 79.2, 2039, (8, 0), 312, None, None, NVLINK_3),
        "a100 a100sxm a100sxm4 a100sxm480gb a100sxm80gb a10080gbsxm4 a10080gbsxm",
    ),
    (Gpu("A100-80GB-PCIE", 79.2, 1935, (8, 0), 312, None, None, PCIE_4), "a100pcie a100pcie80gb"),
    (Gpu("RTX-3080", 9.64, 760, (8, 6), 59.5, None, None, GEFORCE_PCIE_4), "3080"),
    (Gpu("RTX-3080-TI", 11.62, 912, (8, 6), 68.2, None, None, GEFORCE_PCIE_4), "3080ti"),  # *
    (Gpu("RTX-3090", 23.58, 936, (8, 6), 71, None, None, GEFORCE_PCIE_4), "3090"),
    (Gpu("RTX-3090-TI", 23.55, 1008, (8, 6), 80, None, None, GEFORCE_PCIE_4), "3090ti"),  # *
    (Gpu("RTX-A4000", 15.6, 448, (8, 6), 76.7, None, None, PCIE_4), "a4000"),
    (Gpu("RTX-A4500", 19.6, 640, (8, 6), 94.6, None, None, PCIE_4), "a4500"),
    (Gpu("RTX-A5000", 23.55, 768, (8, 6), 111, None, None, PCIE_4), "a5000"),
    (Gpu("RTX-A6000", 47.4, 768, (8, 6), 155, None, None, PCIE_4), "a6000"),
    (Gpu("L4", 22.03, 300, (8, 9), 121, 242, None, PCIE_4), ""),
    (Gpu("L40", 44.3, 864, (8, 9), 181, 362, None, PCIE_4), ""),
    (Gpu("L40S", 44.4, 864, (8, 9), 362, 733, None, PCIE_4), ""),
    (Gpu("RTX-4070-TI", 11.6, 504, (8, 9), 80, 160, None, GEFORCE_PCIE_4), "4070ti"),  # *
    (Gpu("RTX-4080", 15.67, 717, (8, 9), 97.5, 195, None, GEFORCE_PCIE_4), "4080"),
    (Gpu("RTX-4080-SUPER", 15.56, 736, (8, 9), 104, 209, None, GEFORCE_PCIE_4), "4080super rtx4080s"),  # *
    (Gpu("RTX-4090", 23.55, 1008, (8, 9), 165, 330, None, GEFORCE_PCIE_4), "4090"),
    (Gpu("RTX-4090D", 23.5, 1008, (8, 9), 147, 294, None, GEFORCE_PCIE_4), "4090d"),  # *
    (Gpu("RTX-2000-ADA", 15.7, 224, (8, 9), 48, 96, None, PCIE_4_X8), "rtx2000adageneration 2000ada"),
    (Gpu("RTX-4000-ADA", 19.5, 360, (8, 9), 107, 214, None, PCIE_4), "rtx4000adageneration 4000ada"),  # *
    (Gpu("RTX-4000-SFF-ADA", 19.5, 280, (8, 9), 76.7, 153, None, PCIE_4), "rtx4000sffadageneration"),
    (Gpu("RTX-4500-ADA", 23.6, 432, (8, 9), 158, 317, None, PCIE_4), "rtx4500adageneration 4500ada"),  # *
    (Gpu("RTX-5000-ADA", 31.47, 576, (8, 9), 261, 522, None, PCIE_4), "rtx5000adageneration 5000ada"),
    (Gpu("RTX-5880-ADA", 47.4, 960, (8, 9), 277, 554, None, PCIE_4), "rtx5880adageneration 5880ada"),
    (Gpu("RTX-6000-ADA", 47.37, 960, (8, 9), 364, 728, None, PCIE_4), "rtx6000adageneration 6000ada"),
    (
        Gpu("H100", 79.2, 3350, (9, 0), 989, 1979, None, NVLINK_4),
        "h100sxm h100sxm5 h10080gb h10080gbhbm3 h100sxm580gb h10080gbsxm5",
    ),
    (Gpu("H100-PCIE", 79.1, 2000, (9, 0), 756, 1513, None, PCIE_5), "h100pcie80gb h10080gbpcie"),
    (Gpu("H100-NVL", 93.0, 3900, (9, 0), 835, 1671, None, PCIE_5), "h100nvl94gb"),
    (Gpu("H200", 139.8, 4800, (9, 0), 989, 1979, None, NVLINK_4), "h200sxm h200sxm5 h200141gb h200sxm141gb"),
    (Gpu("H200-NVL", 139.8, 4800, (9, 0), 835, 1671, None, PCIE_5), "h200nvl141gb"),
    (
        Gpu("GH200", 95.0, 4000, (9, 0), 989, 1979, None, NVLINK_4),  # the one with 96 GB
        "gh200sxm gh200480gb gh20096gb",
    ),
    (Gpu("RTX-5080", 15.48, 960, (12, 0), 113, 225, 900, GEFORCE_PCIE_5), "5080"),
    (Gpu("RTX-5090", 31.37, 1792, (12, 0), 209, 419, 1676, GEFORCE_PCIE_5), "5090"),
    (Gpu("RTX-PRO-4000", 23.42, 672, (12, 0), 147, 295, 589, PCIE_5), "rtxpro4000blackwell"),  # *
    (Gpu("RTX-PRO-4500", 31.3, 896, (12, 0), 211, 422, 843, PCIE_5), "rtxpro4500blackwell"),  # ~
    (Gpu("RTX-PRO-5000", 47.27, 1344, (12, 0), 258, 516, 1032, PCIE_5), "rtxpro5000blackwell"),
    # Half way between the 500 TFLOPS of the Workstation Edition and the 439 of the Max-Q, which go by one name here.
    (
        Gpu("RTX-PRO-6000", 94.97, 1792, (12, 0), 470, 940, 1880, PCIE_5),
        "rtxpro6000ws rtxpro6000maxq rtxpro6000blackwell rtxpro6000blackwellmaxq "
        "rtxpro6000blackwellworkstationedition rtxpro6000blackwellmaxqworkstationedition",
    ),
    (
        Gpu("RTX-PRO-6000-SERVER", 94.97, 1597, (12, 0), 470, 940, 1880, PCIE_5),
        "rtxpro6000s rtxpro6000blackwellserveredition",
    ),
    (Gpu("B200", 178.35, 7700, (10, 0), 2250, 4500, 9000, NVLINK_5), "b200sxm b200sxm6"),
    (Gpu("B300", 267.69, 7750, (10, 3), 2250, 4500, 13500, NVLINK_5), "b300sxm6 b300sxm6ac"),
    (Gpu("MI300X", 191.98, 5300, None, 1307, 2615, None, INFINITY_FABRIC, Vendor.AMD), "mi300xoam"),
)

GPUS = {gpu.name: gpu for gpu, _ in _CATALOGUE}
"""Every card by its name."""

_MAKERS = {"nvidia", "geforce", "tesla", "amd", "instinct"}


def canonical(spelling: str, memory_gib: float | None = None) -> Gpu | None:
    """The card that this spelling names for certain; None when that is no card of ours, or could be several.

    With `memory_gib`, as sold or as measured, a card of another size is not meant: `A100` needs it to say which, and
    a slice of a card, or a part with less memory under a known name, is not taken for the whole.
    """
    meant = _by_key().get(_key(spelling), ())
    fitting = [gpu for gpu in meant if memory_gib is None or _is_size_of(gpu, memory_gib)]
    return fitting[0] if len(fitting) == 1 else None


@cache
def _by_key() -> Mapping[str, Sequence[Gpu]]:
    """Which cards each spelling may mean."""
    found: dict[str, list[Gpu]] = {}
    for gpu, others in _CATALOGUE:
        for key in {_key(gpu.name), *others.split()}:
            found.setdefault(key, []).append(gpu)
    return found


def _key(spelling: str) -> str:
    return "".join(word for word in re.split(r"[\s_-]+", spelling.lower()) if word not in _MAKERS)


def _is_size_of(gpu: Gpu, memory_gib: float) -> bool:
    """Clouds give the number in the card's name, which is up to a tenth more than what CUDA has of it (T4: 16)."""
    return 0.95 <= memory_gib / gpu.memory_gib <= 1.10
