"""The machines of Vast.ai's hosts: invented ones, with numbers like those of recorded answers (2026).

Names of cards, memory and compute capabilities are Vast's own (vast-ai/vast-cli, `query.py`; recorded offers; dstackai/
gpuhunt): an A100 has the same name with 40 and with 80 GB.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Card:
    """A GPU as offers describe it."""

    gpu_ram: int
    """MiB, as nvidia-smi shows it."""
    compute_cap: int
    memory_gb_per_s: float
    tflops: float
    """FP32."""
    watts: float
    nvlink_gb_per_s: float = 0.0
    arch: str = "nvidia"


CARDS: Mapping[str, Card] = {
    "RTX 3090": Card(24576, 860, 936, 35.6, 350),
    "RTX 4090": Card(24564, 890, 1008, 82.6, 450),
    "RTX 5090": Card(32607, 1200, 1792, 104.8, 575),
    "RTX A4000": Card(16376, 860, 448, 19.2, 140),
    "RTX A6000": Card(49140, 860, 768, 38.7, 300),
    "RTX 6000Ada": Card(49140, 890, 960, 91.1, 300),
    "RTX PRO 6000 WS": Card(97887, 1200, 1792, 125.0, 600),
    "RTX PRO 6000 S": Card(97887, 1200, 1597, 117.0, 600),
    "Q RTX 8000": Card(49152, 750, 672, 16.3, 260),
    "Tesla T4": Card(15360, 750, 320, 8.1, 70),
    "Tesla V100": Card(32768, 700, 900, 15.7, 300),
    "A10": Card(23028, 860, 600, 31.2, 150),
    "A40": Card(46068, 860, 696, 37.4, 300),
    "L4": Card(23034, 890, 300, 30.3, 72),
    "L40S": Card(46068, 890, 864, 91.6, 350),
    "A100 PCIE": Card(40960, 800, 1555, 19.5, 250),
    "A100 SXM4": Card(40960, 800, 1555, 19.5, 400, 250),
    "A100 SXM4 80": Card(81920, 800, 2039, 19.5, 400, 250),
    "H100 PCIE": Card(81559, 900, 2039, 51.2, 350),
    "H100 SXM": Card(81559, 900, 3352, 66.9, 700, 447),
    "H100 NVL": Card(95830, 900, 3938, 60.3, 400),
    "H200": Card(143771, 900, 4800, 66.9, 700, 448),
    "H200 NVL": Card(143771, 900, 4800, 60.3, 600),
    "B200": Card(183359, 1000, 8000, 75.0, 1000, 900),
    "B300": Card(275040, 1030, 8000, 77.0, 1400, 900),
    "GH200 SXM": Card(97871, 900, 4022, 66.9, 900),
    "InstinctMI210": Card(65536, 900, 1638, 22.6, 300, arch="amd"),
}
SHARED_NAMES = {"A100 SXM4 80": "A100 SXM4"}


@dataclass(frozen=True)
class Machine:
    """One computer of a host, rented out by slices of 1, 2, 4 or 8 of its cards. Amounts are of the whole machine."""

    id: int
    host: int
    card: Card
    gpu_name: str
    gpus: int
    gpu_usd: float
    """Per card and hour; bids begin at `min_bid` of it."""
    place: str | None = "Texas, US"
    min_bid: float = 0.6
    disk_usd: float = 0.15
    """Per GB and month of 720 hours."""
    down_usd: float = 0.0026
    """Per GB, as `up_usd`."""
    up_usd: float = 0.0026
    down_mbps: float = 2100.0
    disk_gb: float = 1600.0
    reliability: float = 0.9931
    verification: str = "verified"
    datacenter: bool = False
    ports: int = 200
    cuda: float | None = 13.0
    driver: str = "580.105.08"
    days: float = 45.0
    """Until the host takes it away."""
    cpu_arch: str = "amd64"
    cores: int | None = 128
    ram_gb: int = 512
    max_watts: float | None = None


def _machine(number: int, host: int, gpu: str, gpus: int, gpu_usd: float, place: str | None, **more: object) -> Machine:
    base = Machine(number, host, CARDS[gpu], SHARED_NAMES.get(gpu, gpu), gpus, gpu_usd, place)
    return replace(base, **more)  # type: ignore[arg-type]


CENTER = {"datacenter": True, "reliability": 0.9987, "down_mbps": 7800.0, "disk_gb": 14_000.0, "ram_gb": 2064}
HOME = {"down_mbps": 870.0, "disk_gb": 420.0, "cores": 32, "ram_gb": 128, "ports": 20}
MACHINES = (
    _machine(11021, 5101, "RTX 3090", 4, 0.135, "Poland, PL", **HOME, cuda=12.8, driver="570.86.15"),
    _machine(11022, 5101, "RTX 3090", 1, 0.118, "Poland, PL", **HOME, verification="unverified", reliability=0.905),
    _machine(11980, 5110, "RTX 3090", 8, 0.162, "Quebec, CA", down_usd=0.0039),
    _machine(12305, 5122, "RTX 4090", 1, 0.268, "Ohio, US", **HOME),
    _machine(12306, 5123, "RTX 4090", 8, 0.334, "Sweden, SE", down_usd=0.00013, up_usd=0.0044),
    _machine(12307, 5124, "RTX 4090", 4, 0.241, "Vietnam, VN", down_usd=0.034, up_usd=0.034),
    _machine(12308, 5125, "RTX 4090", 2, 0.255, "Guangdong, CN", **HOME | {"ports": 0}),
    _machine(12309, 5126, "RTX 4090", 2, 0.249, ", US", reliability=0.612, verification="unverified", days=3.0),
    _machine(12711, 5130, "RTX 5090", 8, 0.461, "Utah, US"),
    _machine(12712, 5131, "RTX 5090", 2, 0.402, "Czechia, CZ", **HOME, cuda=12.8, driver="570.133.07"),
    _machine(12713, 5132, "RTX 5090", 1, 0.377, None, **HOME, verification="deverified"),
    _machine(13001, 5140, "RTX A4000", 4, 0.092, "France, FR"),
    _machine(13044, 5141, "RTX A6000", 4, 0.372, "Oklahoma, US", disk_usd=0.2),
    _machine(13045, 5141, "RTX A6000", 2, 0.391, "Oklahoma, US", disk_usd=0.2),
    _machine(13102, 5142, "RTX 6000Ada", 8, 0.524, "Norway, NO"),
    _machine(13310, 5150, "RTX PRO 6000 WS", 4, 0.891, "Oregon, US"),
    _machine(13311, 5151, "RTX PRO 6000 S", 8, 0.942, "Iceland, IS", **CENTER),
    _machine(13400, 5152, "Q RTX 8000", 4, 0.241, "Spain, ES", cuda=12.4, driver="550.54.15"),
    _machine(13410, 5153, "Tesla T4", 4, 0.098, "India, IN", cuda=12.2, driver="535.183.01", down_mbps=310.0),
    _machine(13411, 5154, "Tesla V100", 8, 0.152, "Bulgaria, BG", cuda=12.8, driver="570.86.15"),
    _machine(13500, 5160, "A10", 1, 0.187, "Virginia, US", cores=None),
    _machine(13501, 5160, "A40", 4, 0.318, "Virginia, US"),
    _machine(13502, 5161, "L4", 2, 0.312, "Belgium, BE"),
    _machine(13503, 5162, "L40S", 8, 0.568, "Finland, FI", **CENTER),
    _machine(13504, 5163, "L40S", 4, 0.521, "Kansas, US", days=0.6),
    _machine(14001, 5170, "A100 PCIE", 2, 0.498, "Taiwan, TW"),
    _machine(14002, 5171, "A100 SXM4", 8, 0.553, "Nevada, US"),
    _machine(14003, 5172, "A100 SXM4 80", 8, 0.871, "Germany, DE", **CENTER),
    _machine(14004, 5172, "A100 SXM4 80", 4, 0.934, "Germany, DE", **CENTER),
    _machine(15001, 5180, "H100 PCIE", 4, 1.672, "Netherlands, NL"),
    _machine(15002, 5181, "H100 SXM", 8, 1.928, "Iowa, US", **CENTER),
    _machine(15003, 5181, "H100 SXM", 8, 1.934, "Iowa, US", **CENTER | {"max_watts": 500.0}),
    _machine(15004, 5182, "H100 SXM", 8, 1.754, "Thailand, TH", verification="unverified", reliability=0.8714),
    _machine(15005, 5183, "H100 SXM", 4, 1.871, "France, FR", down_usd=0.041, up_usd=0.041),
    _machine(15006, 5184, "H100 NVL", 4, 1.813, "Washington, US"),
    _machine(15101, 5190, "H200", 8, 2.431, "Georgia, US", **CENTER),
    _machine(15102, 5191, "H200", 8, 2.612, "Japan, JP", **CENTER),
    _machine(15103, 5192, "H200 NVL", 4, 2.298, "Maryland, US"),
    _machine(15201, 5193, "B200", 8, 3.489, "Indiana, US", **CENTER, cuda=13.1, driver="590.48.01"),
    _machine(15301, 5194, "B300", 8, 5.625, "Texas, US", **CENTER, min_bid=1.0, cuda=13.3, driver="610.57.04"),
    _machine(15401, 5195, "GH200 SXM", 1, 1.489, "California, US", cpu_arch="arm64", cores=72),
    _machine(15501, 5196, "InstinctMI210", 4, 0.711, "Ontario, CA", cuda=None, driver="6.4.1"),
)


def stocked(stock: Mapping[str, int]) -> tuple[Machine, ...]:
    """All machines, but of each card that `stock` names so many: fewer than there are, or dearer and dearer copies."""
    kept = [machine for machine in MACHINES if machine.gpu_name not in stock]
    return (*kept, *(copy for name, count in stock.items() for copy in _copies(name, count)))


def _copies(gpu_name: str, count: int) -> list[Machine]:
    known = [machine for machine in MACHINES if machine.gpu_name == gpu_name]
    rounds = [divmod(number, len(known)) for number in range(count)]
    return [
        replace(known[i], id=known[i].id + 10_000 * turn, gpu_usd=known[i].gpu_usd * (1 + turn / 200))
        for turn, i in rounds
    ]
