"""The load generator: AIPerf, in an environment of its own beside the engines'."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gpu_cli.engine.build import EngineBuild, Installation, PipStep
from gpu_cli.engine.environment import Engines
from gpu_cli.ui.progress import Progress

_AIPERF = EngineBuild("aiperf", "0.13.0", "")
_PYTHON_VERSIONS = ((3, 11), (3, 12), (3, 13))
"""What AIPerf 0.13.0 accepts (`>=3.11,<3.14`)."""


@dataclass(frozen=True)
class Generator:
    """A load generator that is ready for use."""

    name: str
    """With its version: `aiperf 0.13.0`."""
    python: Path


def ready_generator(cache: Path, progress: Progress) -> Generator:
    """Installed into the cache now, if it is not there (0.3 GB); the stage is the caller's. Raises UserError."""
    installed = Engines(cache, installation_of=_installation).ensure(_AIPERF, progress)
    return Generator(f"{_AIPERF.name} {_AIPERF.version}", installed.python)


def _installation(build: EngineBuild) -> Installation:
    lock = Path(str(files("gpu_cli.bench") / f"{build.key}.txt"))
    pins = lock.read_text(encoding="utf-8")
    packages = sum(1 for line in pins.splitlines() if not line.startswith("#"))
    step = PipStep(f"{build.name} {build.version}", ("--no-deps", "-r", str(lock)), packages)
    return Installation(
        (step,), trial="aiperf.cli", disk_gib=1, python_versions=_PYTHON_VERSIONS, pins=pins, purpose="bench"
    )
