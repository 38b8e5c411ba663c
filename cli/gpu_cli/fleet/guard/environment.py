"""What the guard needs of the user's environment: by it clouds are reached. For the service, it is kept in a file."""

import json
from collections.abc import Mapping
from pathlib import Path

from gpu_cli.paths import Paths
from gpu_cli.state_files import PrivateFiles
from gpu_providers import registry

AWAY = "modal"
"""Where a guard can be that does not need this machine, and that is told what lives by the one here."""

_PLACES = frozenset({"HOME", "PATH", "GPU_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"})
_NETWORK = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
_WEIGHTS = ("HF_", "AWS_", "MODELSCOPE_")
"""For what it launches in the place of what a cloud took back."""


def reach_of(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that say where clouds are and who asks them: `RUNPOD_…`, `GPU_RUNPOD_…`."""
    clouds = {*registry.available(), AWAY}
    prefixes = [f"{prefix}{name.upper()}_" for name in clouds for prefix in ("", "GPU_")]
    return {name: value for name, value in environ.items() if value and name.startswith(tuple(prefixes))}


class KeptEnvironment(PrivateFiles):
    """What the guard needs of the user's environment."""

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths.state / "guard")

    @property
    def file(self) -> Path:
        """Where it is, or would be."""
        return self.path("environment.json")

    def keep(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Write it down; what it holds. Raises UserError when it cannot be kept."""
        kept = _needed(environ)
        self._write(self.file.name, json.dumps(kept))
        return kept

    def read(self) -> Mapping[str, str]:
        """Empty when there is none, or none that can be read."""
        return read_environment(self.file)

    def drop(self) -> None:
        """Remove it."""
        self.forget(self.file.name)


def read_environment(file: Path) -> Mapping[str, str]:
    """What such a file holds; nothing where it cannot be read."""
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in kept.items()} if isinstance(kept, dict) else {}


def _needed(environ: Mapping[str, str]) -> dict[str, str]:
    reach = reach_of(environ)
    needed = {name: value for name, value in environ.items() if name in reach or _is_needed(name)}
    if home := environ.get("GPU_HOME"):
        needed["GPU_HOME"] = str(Path(home).expanduser().absolute())  # a service is in another folder
    return needed


def _is_needed(name: str) -> bool:
    return name in _PLACES or name.upper() in _NETWORK or name.startswith(_WEIGHTS)
