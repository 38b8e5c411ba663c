"""The engine's container image, and what it asks of a host."""

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


@dataclass(frozen=True)
class EngineImage:
    """A container image."""

    reference: str
    min_cuda_version: str
    """What the host's driver has to support, `13.0`."""


def engine_image(version: str) -> EngineImage:
    """The image of this release of vLLM."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    floor = next(floor for first, floor in _FLOORS if numbers >= first[: len(numbers)])
    return EngineImage(f"vllm/vllm-openai:v{version}", floor)
