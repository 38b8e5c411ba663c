"""The user's API key: from the environment, else from the file in which SkyPilot and others keep it."""

import re
from collections.abc import Mapping
from pathlib import Path

from gpu_providers.api_keys import as_key
from gpu_providers.base import Secret
from gpu_providers.errors import AuthError

VARIABLE = "LAMBDA_API_KEY"
KEYS = Path(".lambda_cloud", "lambda_keys")
"""In the home folder (SkyPilot's `sky/clouds/utils/lambda_utils.py`)."""
HINT = f"set {VARIABLE}; a key is made at https://cloud.lambda.ai/api-keys"
_LINE = re.compile(r"^\s*api_key\s*=(.*)$", re.MULTILINE)


def api_key(environ: Mapping[str, str]) -> Secret:
    """Raises NoCredentials when there is none, AuthError when it cannot be one; both name the variable."""
    found = environ.get(VARIABLE, "").strip() or _from_file(environ)
    return as_key(found, "Lambda", hint=HINT)


def _from_file(environ: Mapping[str, str]) -> str:
    if not environ.get("HOME"):
        return ""
    path = Path(environ["HOME"]) / KEYS
    try:
        line = _LINE.search(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        raise AuthError(f"{path} cannot be read: {type(error).__name__}", hint=HINT) from None
    return line[1].strip().strip("\"'") if line else ""
