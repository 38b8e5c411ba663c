"""The user's API key: from the environment, else from the files of Vast.ai's own tools."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gpu_providers.api_keys import as_key
from gpu_providers.base import Secret
from gpu_providers.errors import AuthError

VARIABLE = "VAST_API_KEY"
HINT = f"set {VARIABLE}; a key is made at https://cloud.vast.ai/manage-keys/"


def api_key(environ: Mapping[str, str]) -> Secret:
    """Raises NoCredentials when there is none, AuthError when it cannot be one; both name the variable."""
    found = environ.get(VARIABLE, "").strip() or next(filter(None, map(_content, _files(environ))), "")
    return as_key(found, "Vast.ai", hint=HINT)


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where the package `vastai` keeps it, newest place first."""
    home, config = environ.get("HOME"), environ.get("XDG_CONFIG_HOME")
    if config or home:
        yield Path(config or f"{home}/.config", "vastai", "vast_api_key")
    if home:
        yield Path(home, ".vast_api_key")


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        raise AuthError(f"{path} cannot be read: {type(error).__name__}", hint=HINT) from None
