"""The user's API key: from the environment, else from the file of RunPod's own tools."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_providers.api_keys import as_key
from gpu_providers.base import Secret
from gpu_providers.errors import AuthError

VARIABLE = "RUNPOD_API_KEY"
CONFIG = Path(".runpod", "config.toml")
"""In the home folder."""
HINT = f"set {VARIABLE}; a key is made at https://www.runpod.io/console/user/settings"


def api_key(environ: Mapping[str, str]) -> Secret:
    """Raises NoCredentials when there is none, AuthError when it cannot be one; both name the variable."""
    found = environ.get(VARIABLE, "").strip() or _from_file(environ)
    return as_key(found, "RunPod", hint=HINT)


def _from_file(environ: Mapping[str, str]) -> str:
    if not environ.get("HOME"):
        return ""
    path = Path(environ["HOME"]) / CONFIG
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise AuthError(f"{path} cannot be read: {type(error).__name__}", hint=HINT) from None
    return _spelled(document)


def _spelled(document: Mapping[str, Any]) -> str:
    """The Python SDK writes `api_key` into the section `default`, runpodctl writes `apikey` above all sections."""
    default = document.get("default")
    for place in (default if isinstance(default, dict) else {}, document):
        for name in ("api_key", "apikey"):
            if isinstance(place.get(name), str) and place[name].strip():
                return str(place[name]).strip()
    return ""
