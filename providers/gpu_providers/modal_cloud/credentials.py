"""Whose account at Modal, found as Modal's own client finds it, and read here so that nobody has to import that.

A setting is that of the variable MODAL_<NAME>, else that of the active profile of ~/.modal.toml (modal/config.py and
client.py, 1.6.4).
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_providers.api_keys import as_key
from gpu_providers.base import Secret
from gpu_providers.errors import AuthError, NoCredentials

FILE = ".modal.toml"
"""In the home folder; MODAL_CONFIG_PATH names another."""
HINT = "set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or run `modal token new`"
ACTIVATE = "run `modal profile activate`, or set MODAL_PROFILE"
SERVER_URLS = "https://api.modal.com,https://api.modal2.com"
"""They stand in for each other."""
_DEFAULT = "default"
_TOKEN = ("token_id", "token_secret")
_OAUTH = ("oauth_refresh_token", "oauth_client_id", "oauth_client_secret")
Profile = Mapping[str, object]


@dataclass(frozen=True)
class Token:
    """What `modal token new` makes."""

    token_id: str
    token_secret: Secret

    @property
    def account(self) -> str:
        """What tells this login from others."""
        return self.token_id


@dataclass(frozen=True)
class OAuth:
    """A login on behalf of somebody."""

    refresh_token: Secret
    client_id: str
    client_secret: Secret

    @property
    def account(self) -> str:
        """As above: a client has many users."""
        return f"{self.client_id} {self.refresh_token.reveal()}"


class Settings:
    """Modal's settings as they are in this environment now."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises AuthError when the file cannot be read, or does not say which of its profiles counts."""
        self._environ = environ
        self._path = _path(environ)
        profiles = _profiles(self._path) if self._path else {}
        self._name = _profile_name(environ, profiles, self._path)
        self._profile = profiles.get(self._name, {})

    def get(self, name: str) -> str:
        """Empty where nothing sets it. A variable that is set and empty hides the profile's."""
        variable = f"MODAL_{name.upper()}"
        return str(self._environ[variable] if variable in self._environ else self._profile.get(name, ""))

    @property
    def where(self) -> str:
        """Where the login is from, for people."""
        said = (f"MODAL_{name.upper()}" for name in (*_TOKEN, *_OAUTH))
        variable = next((name for name in said if self._environ.get(name)), "")
        return variable or f"profile {self._name} of {self._path or FILE}"

    @property
    def login(self) -> Token | OAuth:
        """Raises NoCredentials when there is none, AuthError when it is incomplete."""
        token, oauth = self._said(_TOKEN), self._said(_OAUTH)
        if token and oauth:
            raise AuthError("both a token and an OAuth login (MODAL_OAUTH_...) are set for Modal", hint="unset one")
        if oauth:
            refresh_token, client_id, client_secret = _complete(oauth, _OAUTH)
            return OAuth(refresh_token, client_id.reveal(), client_secret)
        if not token:
            raise NoCredentials(f"there is no token for Modal{self._missing_profile()}", hint=HINT)
        token_id, token_secret = _complete(token, _TOKEN)
        return Token(token_id.reveal(), token_secret)

    def _said(self, names: Sequence[str]) -> Mapping[str, str]:
        found = {name: self.get(name).strip() for name in names}
        return {name: value for name, value in found.items() if value}

    def _missing_profile(self) -> str:
        named = self._environ.get("MODAL_PROFILE") and not self._profile
        return f": MODAL_PROFILE names {self._name}, which {self._path or FILE} does not have" if named else ""


def _complete(said: Mapping[str, str], names: Sequence[str]) -> Sequence[Secret]:
    if lacking := [f"MODAL_{name.upper()}" for name in names if name not in said]:
        raise AuthError(f"the login for Modal is incomplete: {lacking[0]} is missing", hint=HINT)
    return [as_key(said[name], "Modal", hint=HINT) for name in names]


def _path(environ: Mapping[str, str]) -> Path | None:
    if environ.get("MODAL_CONFIG_PATH"):
        return Path(environ["MODAL_CONFIG_PATH"])
    return Path(environ["HOME"]) / FILE if environ.get("HOME") else None


def _profiles(path: Path) -> Mapping[str, Profile]:
    hint = f"correct it, or move it away and {HINT}"
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        why = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise AuthError(f"{path} cannot be read: {why}", hint=hint) from None
    if not all(isinstance(profile, dict) for profile in profiles.values()):
        raise AuthError(f"{path} holds more than profiles", hint=hint)
    return profiles


def _profile_name(environ: Mapping[str, str], profiles: Mapping[str, Profile], path: Path | None) -> str:
    active = [name for name, profile in profiles.items() if profile.get("active") is True]
    if len(active) > 1:
        raise AuthError(f"{path} has more than one active profile: {', '.join(active)}", hint=ACTIVATE)
    name = environ.get("MODAL_PROFILE") or (active[0] if active else _DEFAULT)
    if len(profiles) > 1 and not active and name == _DEFAULT:
        raise AuthError(f"{path} has several profiles, and none of them is active", hint=ACTIVATE)
    return name
