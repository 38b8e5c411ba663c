"""Fills an empty folder with an engine: a virtual environment and what pip puts into it."""

import errno
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_cli.engine.build import Installation, PipStep
from gpu_cli.engine.subprocess_lines import lines, started
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

GIB = 2**30
_TICK_S = 0.5
_COLLECTING = re.compile(rb"\s*Collecting \S")
_NO_REASON = ("$ ", "WARNING:", "[notice]")
# What a user's shell may hold that would make the new environment's Python or pip look or write elsewhere.
_MISLEADING = (
    *("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH"),
    *("PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT", "PIP_TARGET", "PIP_USER"),
)


@dataclass(frozen=True)
class Installer:
    """Installs into `root`, writes all that is said to `log`, and tells people in short how far it is."""

    root: Path
    log: Path
    environ: Mapping[str, str]
    lock_descriptor: int
    tell: Callable[[str], None]

    def run(self, installation: Installation, python: Path) -> None:
        """Install it with this Python. Raises UserError; what is in the folder then is of no use."""
        self._need_space(installation.disk_gib)
        self.log.write_bytes(b"")
        self._make_environment(python)
        self._scratch.mkdir()
        for step in installation.steps:
            self._pip(step)
        self._try(installation.trial)
        shutil.rmtree(self._scratch)

    @property
    def _python(self) -> str:
        return str(self.root / "bin" / "python")

    @property
    def _scratch(self) -> Path:
        """pip unpacks here: on the disk whose space was checked, and gone with the folder after an interruption."""
        return self.root / "tmp"

    def _need_space(self, needed_gib: float) -> None:
        free_gib = shutil.disk_usage(self.root.parent).free / GIB
        if free_gib < needed_gib:
            raise no_disk(self.root.parent, f"{free_gib:.1f} GiB are free and it needs {needed_gib:g} GiB")

    def _make_environment(self, python: Path) -> None:
        self.tell("virtual environment")
        if self._run([str(python), "-m", "venv", str(self.root)], lambda _: None):
            raise self._failure(
                "no-venv",
                f"{python} cannot make a virtual environment",
                "install its venv module (Debian, Ubuntu: apt install python3-venv)",
            )

    def _pip(self, step: PipStep) -> None:
        # Compiling everything takes half a minute, for files that are mostly never imported.
        install = (self._python, "-m", "pip", "install", "--no-input", "--no-compile")
        for extra in ((), step.fallback) if step.fallback else ((),):
            if self._run([*install, *step.arguments, *extra], self._packages_teller(step)) == 0:
                return
        raise self._failure(
            "engine-install", f"{step.label} could not be installed", "check the network and pip's settings"
        )

    def _try(self, module: str) -> None:
        """Import it once: this shows that the packages work here, and leaves compiled what every start imports."""
        self.tell(f"first import of {module.partition('.')[0]}")
        if self._run([self._python, "-c", f"import {module}"], lambda _: None):
            raise self._failure("engine-broken", f"{module} is installed and cannot be imported", "see why in the log")

    def _run(self, command: list[str], heard: Callable[[bytes], None]) -> int:
        kept = {name: value for name, value in self.environ.items() if name not in _MISLEADING}
        environ = {**kept, "TMPDIR": str(self._scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        with (
            self.log.open("ab") as log,
            started(command, environ=environ, lock_descriptor=self.lock_descriptor) as process,
        ):
            log.write(f"$ {shlex.join(command)}\n".encode())
            for line in lines(process, tick_s=_TICK_S):
                log.write(line)
                heard(line)
            return process.wait()

    def _packages_teller(self, step: PipStep) -> Callable[[bytes], None]:
        """pip names what it collects, then installs in silence: there the folder itself tells how far it is."""
        collected, installed, before = 0, 0, self._installed()

        def heard(line: bytes) -> None:
            nonlocal collected, installed
            collected += bool(_COLLECTING.match(line))
            installed = installed if line else self._installed() - before
            if step.packages == 1 or not collected:
                self.tell(step.label)
            elif installed:
                self.tell(f"{step.label}: {installed}/{step.packages} packages installed")
            else:
                self.tell(f"{step.label}: {collected}/{step.packages} packages found")

        return heard

    def _installed(self) -> int:
        return sum(1 for _ in self.root.glob("lib/python*/site-packages/*.dist-info"))

    def _failure(self, code: str, message: str, hint: str) -> UserError:
        said = self.log.read_text(encoding="utf-8", errors="replace")
        if os.strerror(errno.ENOSPC) in said:
            return no_disk(self.root.parent, "it is full")
        return UserError(Exit.LAUNCH_FAILED, code, f"{message}: {_last_words(said)}", hint=f"{hint}; log: {self.log}")


def no_disk(folder: Path, reason: str) -> UserError:
    """The disk of this folder cannot take an engine."""
    return UserError(
        Exit.LAUNCH_FAILED,
        "no-disk",
        f"no room on the disk of {folder}: {reason}",
        hint="free some (gpu engine ls, gpu engine rm KEY), or set GPU_HOME to a folder on a larger disk",
    )


def _last_words(said: str) -> str:
    """The line that tells most: pip's last error, else the last line that is no command and no advice."""
    spoken = [line for line in said.splitlines() if line.strip() and not line.startswith(_NO_REASON)]
    errors = [line for line in spoken if line.startswith("ERROR:")]
    return (errors or spoken or ["it said nothing"])[-1].removeprefix("ERROR:").strip()
