"""Where things are kept on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The user's folders. Nothing is created here; whoever writes makes the folder."""

    config: Path
    state: Path
    cache: Path

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Paths":
        """`GPU_HOME` puts all three into one folder; otherwise they are the platform's own."""
        if home := environ.get("GPU_HOME"):
            root = Path(home).expanduser().absolute()
            return cls(root / "config", root / "state", root / "cache")
        import platformdirs

        dirs = platformdirs.PlatformDirs("gpu-up", appauthor=False)
        return cls(Path(dirs.user_config_dir), Path(dirs.user_state_dir), Path(dirs.user_cache_dir))

    @property
    def record(self) -> Path:
        """The store's file."""
        return self.state / "gpu.db"


def shipped(folder: str) -> Path:
    """`prices`, `recipes` or `templates`: in the installed wheel inside the package, in a checkout beside `cli/`."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / folder
    return installed if installed.is_dir() else package.parents[1] / folder
