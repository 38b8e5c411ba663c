"""What `gpu doctor` says about Lambda."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gpu_providers.base import Check, Offer
from gpu_providers.doctor import key_check, search_check
from gpu_providers.errors import ProviderError
from gpu_providers.lambda_cloud import credentials
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.ssh_keys import FILE, SshKey, registered_name
from gpu_providers.values import Json

KEY, SSH_KEY, SSH, SEARCH = "lambda key", "lambda ssh key", "lambda ssh", "lambda offers"
_INSTALL_SSH = "install OpenSSH's client: endpoints at Lambda are reached through it"


def checks(
    environ: Mapping[str, str],
    connect: Callable[[], LambdaClient],
    key_folder: Callable[[], Path],
    search: Callable[[], Sequence[Offer]],
) -> Iterator[Check]:
    """The API key and whether Lambda takes it, the SSH key of ours, the system's `ssh`, and offers. Never raises.

    No API key is no trouble: the cloud is not used.
    """
    where = credentials.VARIABLE if environ.get(credentials.VARIABLE, "").strip() else f"~/{credentials.KEYS}"
    accepted, registered = key_check(KEY, where, lambda: connect().ssh_keys())
    yield accepted
    if registered is None:
        return
    yield _ssh_key(registered, key_folder() / FILE)
    yield _ssh(environ)
    yield search_check(SEARCH, search)


def _ssh_key(registered: Sequence[Json], path: Path) -> Check:
    if not path.exists():
        return Check(SSH_KEY, True, "made and registered on the first launch")
    key = SshKey(path)
    try:
        name = registered_name(registered, key)
    except ProviderError as error:
        return Check(SSH_KEY, False, error.message, hint=error.hint)
    return Check(SSH_KEY, True, f"{path}, registered as {name}" if name else f"{path}, registered on the next launch")


def _ssh(environ: Mapping[str, str]) -> Check:
    found = shutil.which("ssh", path=environ.get("PATH"))
    return Check(SSH, bool(found), found or "there is no program `ssh`", hint="" if found else _INSTALL_SSH)
