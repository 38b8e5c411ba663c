"""What `gpu doctor` says about Lambda."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gpu_providers.base import Check, Offer
from gpu_providers.errors import NoCredentials, ProviderError
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
    try:
        registered = connect().ssh_keys()
    except NoCredentials as error:
        yield Check(KEY, True, f"{error.message}: it is not used", hint=error.hint)
        return
    except ProviderError as error:
        yield Check(KEY, False, f"{where}: {error.message}", hint=error.hint)
        return
    yield Check(KEY, True, f"{where}: accepted")
    yield _ssh_key(registered, key_folder() / FILE)
    yield _ssh(environ)
    yield _searched(search)


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


def _searched(search: Callable[[], Sequence[Offer]]) -> Check:
    try:
        offers = search()
    except ProviderError as error:
        return Check(SEARCH, False, error.message, hint=error.hint)
    if not offers:
        return Check(SEARCH, True, "answered, with nothing to rent now")
    cheapest = min(offers, key=lambda offer: offer.price_usd_per_hour)
    return Check(SEARCH, True, f"{len(offers)} offers, from {cheapest.price_usd_per_hour:.2f} USD/h ({cheapest.gpu})")
