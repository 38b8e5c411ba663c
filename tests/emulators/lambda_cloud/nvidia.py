"""NVIDIA's side of an emulated machine: `nvidia-smi`, `nvidia-ctk`, and what CUDA says in a container.

The names and the memory of GPUs are as drivers tell them (outputs of `nvidia-smi` in public bug reports).
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .calls import Call, Output, failed, said
from .catalogue import TYPES

GPUS: Mapping[str, tuple[str, int]] = {
    "GH200 (96 GB)": ("NVIDIA GH200 480GB", 97_871),
    "H100 (80 GB PCIe)": ("NVIDIA H100 PCIe", 81_559),
    "H100 (80 GB SXM5)": ("NVIDIA H100 80GB HBM3", 81_559),
    "B200 (180 GB SXM6)": ("NVIDIA B200", 183_359),
    "A100 (80 GB SXM4)": ("NVIDIA A100-SXM4-80GB", 81_920),
    "A100 (40 GB SXM4)": ("NVIDIA A100-SXM4-40GB", 40_960),
    "A100 (40 GB PCIe)": ("NVIDIA A100-PCIE-40GB", 40_960),
    "A10 (24 GB PCIe)": ("NVIDIA A10", 23_028),
    "A6000 (48 GB)": ("NVIDIA RTX A6000", 49_140),
    "RTX 6000 (24 GB)": ("Quadro RTX 6000", 24_576),
    "Tesla V100 (16 GB)": ("Tesla V100-SXM2-16GB", 16_384),
}
"""What the driver calls a GPU that the catalogue describes so, and its memory in MiB."""
NO_FIELD = 2
RUNTIMES = {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}


@dataclass(frozen=True)
class Gpus:
    """Those of one machine."""

    type_name: str
    driver: str

    @property
    def count(self) -> int:
        return TYPES[self.type_name].gpus

    def smi(self, call: Call) -> Output:
        """`nvidia-smi`, as far as queries go."""
        query = next((word for word in call.arguments if word.startswith("--query-gpu=")), None)
        if query is None:
            return said("\n".join(self._listed()))
        rows = [self._row(number) for number in range(self.count)]
        fields = [field.strip() for field in query.partition("=")[2].split(",")]
        if strange := [field for field in fields if field not in self._row(0)]:
            return failed(f'Field "{strange[0]}" is not a valid field to query.\n', NO_FIELD)
        form = next((word.partition("=")[2] for word in call.arguments if word.startswith("--format=")), "")
        return said("\n".join([*_header(fields, form), *(_csv(row, fields, form) for row in rows)]))

    def _listed(self) -> Sequence[str]:
        """As by `nvidia-smi -L`."""
        rows = [self._row(number) for number in range(self.count)]
        return [f"GPU {row['index']}: {row['name']} (UUID: {row['uuid']})" for row in rows]

    def _row(self, number: int) -> Mapping[str, str]:
        name, memory_mib = GPUS[TYPES[self.type_name].gpu_description]
        return {
            "index": str(number),
            "name": name,
            "uuid": f"GPU-{uuid.UUID(int=number)}",
            "count": str(self.count),
            "driver_version": self.driver,
            "memory.total": f"{memory_mib} MiB",
        }


def _header(fields: Sequence[str], form: str) -> Sequence[str]:
    return [] if "noheader" in form else [", ".join(fields)]


def _csv(row: Mapping[str, str], fields: Sequence[str], form: str) -> str:
    text = ", ".join(row[field] for field in fields)
    return text.replace(" MiB", "") if "nounits" in form else text


def configure_docker(settings_file: Path, call: Call) -> Output:
    """`nvidia-ctk runtime configure --runtime=docker`."""
    if list(call.arguments) != ["runtime", "configure", "--runtime=docker"]:
        return failed(f"nvidia-ctk {' '.join(call.arguments)}: this is not emulated")
    if not call.is_root:
        return failed("unable to flush config: unable to open /etc/docker/daemon.json: permission denied")
    settings = json.loads(settings_file.read_text()) if settings_file.exists() else {}
    settings_file.write_text(json.dumps({**settings, "runtimes": {**settings.get("runtimes", {}), **RUNTIMES}}))
    return said("")
