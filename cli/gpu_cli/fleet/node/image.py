"""The engine's container image, what it asks of a host, and what else there is for hosts that do not have that."""

import re
from dataclasses import dataclass

_FLOORS = (
    # vllm-project/vllm#42738: from 0.20.0 the image without a suffix is that of CUDA 13; #40669: 13.0.2.
    ((0, 20, 0), "13.0"),
    # Release notes of vLLM 0.11.1: built with torch 2.9.0+cu129; janhq/server#262: the container asks for cuda>=12.9.
    ((0, 11, 1), "12.9"),
    # vllm-project/vllm#18813: the container of 0.9.0 asks for cuda>=12.8; docker/Dockerfile: CUDA_VERSION=12.8.1.
    ((0, 9, 0), "12.8"),
    # vllm-project/vllm#5635: the container of 0.5.0 asks for cuda>=12.4; docker/Dockerfile: 12.4.1 until 0.8.
    ((0, 0, 0), "12.4"),
)
"""The first release of each, newest first. A container of NVIDIA's base image does not start on a host whose driver is
older than the CUDA version in the image's name (NVIDIA_REQUIRE_CUDA)."""

_TWO_BUILDS = (0, 20, 0)
"""From here on there is one with CUDA 12.9 besides, and both are for two architectures (NVIDIA/Model-Optimizer#2042, of
0.21.0). In 2025 it was x86_64 alone (vllm-project/vllm#22206); with which release that changed is not known."""


@dataclass(frozen=True)
class EngineImage:
    """A container image."""

    reference: str
    min_cuda_version: str
    """What the host's driver has to support, `13.0`."""
    older: str = ""
    """The same release for hosts that do not support that; empty for none."""
    architectures: tuple[str, ...] = ("x86_64",)
    """What it is built for, as in `Offer.architecture`."""


def engine_image(version: str) -> EngineImage:
    """The image of this release of vLLM."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    floor = next(floor for first, floor in _FLOORS if _is_since(first, numbers))
    plain = f"vllm/vllm-openai:v{version}"
    if not _is_since(_TWO_BUILDS, numbers):
        return EngineImage(plain, floor)
    return EngineImage(plain, floor, older=f"{plain}-cu129", architectures=("x86_64", "arm64"))


def _is_since(first: tuple[int, ...], numbers: tuple[int, ...]) -> bool:
    """Whether a release of these numbers is that or a later one; numbers that are left out are no matter."""
    return numbers >= first[: len(numbers)]
