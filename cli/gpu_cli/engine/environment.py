"""The engines installed on this machine: each in a folder of its own below the cache, complete or not there at all."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.engine.build import EngineBuild, Installation, installation_of
from gpu_cli.engine.install import GIB, Installer, no_disk
from gpu_cli.engine.python import find_python
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.locks import exclusive
from gpu_cli.ui.progress import Progress

if TYPE_CHECKING:
    import psutil

WAIT_FOR_OTHER_S = 3600.0
"""How long one installer waits for another: a slow line may need most of an hour for the CUDA build."""

_COMPLETE = "complete.json"


@dataclass(frozen=True)
class Engine:
    """An engine that is ready for use; `python` runs its modules."""

    build: EngineBuild
    python: Path
    root: Path


@dataclass(frozen=True)
class InstalledEngine:
    """What is in one engine's folder; the figures are empty for one that is not complete."""

    key: str
    complete: bool
    size_gib: float
    installed_at: datetime | None
    python: str
    """Version of its Python."""
    purpose: str
    """As of its installation."""


class Engines:
    """All engines of one cache folder. An engine counts as complete only by the record that is written last."""

    def __init__(
        self,
        cache: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        installation_of: Callable[[EngineBuild], Installation] = installation_of,
    ) -> None:
        self.folder = cache / "engines"
        self._environ = environ
        self._installation_of = installation_of

    def ensure(self, build: EngineBuild, progress: Progress) -> Engine:
        """The engine, installed now if it is not complete; the stage is the caller's.

        One process installs and others wait for it. Raises UserError; whatever happens, what is left is either
        complete or removed and done again by the next call.
        """
        installation = self._installation_of(build)
        root = self.folder / build.key
        if not self._is_current(root, installation):
            self._install(build, installation, progress)
        return Engine(build, _python_of(root), root)

    def installed(self) -> Sequence[InstalledEngine]:
        """Every engine's folder, complete or not. Reads one small file each."""
        if not self.folder.is_dir():
            return []
        return [_describe(root) for root in sorted(self.folder.iterdir()) if root.is_dir()]

    def remove(self, key: str) -> None:
        """Delete it, with its log. Raises UserError for an unknown key, and while it is installed or in use."""
        known = [engine.key for engine in self.installed()]
        if key not in known:
            hint = f"installed: {', '.join(known)}" if known else "no engine is installed"
            raise UserError(Exit.BAD_INPUT, "no-such-engine", f"there is no engine {key!r}", hint=hint)
        try:
            with exclusive(self._lock(key), deadline_s=0, waiting=lambda: None):
                _clear(self.folder / key)
                self._log(key).unlink(missing_ok=True)
        except TimeoutError as error:
            hint = "wait for it, or end that process"
            raise UserError(Exit.BAD_INPUT, "engine-busy", f"{key} is being installed", hint=hint) from error

    def _install(self, build: EngineBuild, installation: Installation, progress: Progress) -> None:
        root, log = self.folder / build.key, self._log(build.key)
        try:
            with exclusive(
                self._lock(build.key),
                deadline_s=WAIT_FOR_OTHER_S,
                waiting=lambda: progress.detail("waiting for another process that installs it"),
            ) as descriptor:
                if self._is_current(root, installation):
                    return
                _clear(root)
                python = find_python(installation.python_versions)
                Installer(root, log, self._environ, descriptor, progress.detail).run(installation, python)
                _write_record(root, build, installation)
        except OSError as error:
            raise _could_not_install(build, error, log) from error

    def _is_current(self, root: Path, installation: Installation) -> bool:
        """Complete, of these packages, and its Python still there (an upgrade of the system may remove that)."""
        return _record(root).get("packages") == installation.digest and _python_of(root).exists()

    def _lock(self, key: str) -> Path:
        return self.folder / f"{key}.lock"

    def _log(self, key: str) -> Path:
        return self.folder / f"{key}.log"


def _could_not_install(build: EngineBuild, error: OSError, log: Path) -> UserError:
    if error.errno == errno.ENOSPC:
        return no_disk(log.parent, "it is full")
    if isinstance(error, TimeoutError):
        message = f"another process has been installing {build.key} for an hour"
        return UserError(Exit.LAUNCH_FAILED, "engine-busy", message, hint=f"end that process; its log: {log}")
    message = f"{build.key} could not be installed: {error}"
    return UserError(Exit.LAUNCH_FAILED, "engine-install", message, hint=f"check the folder {log.parent}")


def _python_of(root: Path) -> Path:
    return root / "bin" / "python"


def _record(root: Path) -> Mapping[str, object]:
    """What was written when it was complete; empty for anything else, a damaged record included."""
    try:
        record = json.loads((root / _COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(root: Path, build: EngineBuild, installation: Installation) -> None:
    record = {
        "version": build.version,
        "purpose": installation.purpose,
        "packages": installation.digest,
        "python": _python_version(root),
        "size_gib": round(_size_gib(root), 3),
        "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    unfinished = root / f"{_COMPLETE}.new"
    unfinished.write_text(json.dumps(record, indent=2), encoding="utf-8")
    unfinished.replace(root / _COMPLETE)


def _python_version(root: Path) -> str:
    command = [str(_python_of(root)), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _size_gib(root: Path) -> float:
    return sum(path.lstat().st_size for path in root.rglob("*")) / GIB


def _describe(root: Path) -> InstalledEngine:
    record = _record(root)
    try:
        return InstalledEngine(
            root.name,
            _python_of(root).exists(),
            float(str(record["size_gib"])),
            datetime.fromisoformat(str(record["installed_at"])),
            str(record["python"]),
            str(record.get("purpose", "serve")),
        )
    except (KeyError, ValueError):
        return InstalledEngine(root.name, False, 0.0, None, "", "")


def _clear(root: Path) -> None:
    """Remove what is there; the record goes first, so that what an interruption leaves does not look complete."""
    if not root.exists():
        return
    if users := _users(root):
        raise UserError(
            Exit.BAD_INPUT,
            "engine-in-use",
            f"{root.name} is in use by {', '.join(users)}",
            hint="end what runs on it first: gpu ls, gpu down NAME",
        )
    (root / _COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(root)


def _users(root: Path) -> Sequence[str]:
    """The processes that run from this folder, as far as this user may see them."""
    import psutil

    users = []
    for process in psutil.process_iter():
        try:
            if _runs_from(process, f"{root}{os.sep}"):
                users.append(f"process {process.pid} ({process.name()})")
        except psutil.Error:
            continue
    return users


def _runs_from(process: "psutil.Process", folder: str) -> bool:
    """By its command, or by what it has loaded: the engine's workers rename themselves."""
    if process.cmdline()[:1] and process.cmdline()[0].startswith(folder):
        return True
    return any(mapped.path.startswith(folder) for mapped in process.memory_maps())
