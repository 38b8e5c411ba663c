"""What `gpu doctor` says about RunPod."""

from collections.abc import Callable, Iterator, Mapping

from gpu_providers.base import Check
from gpu_providers.doctor import key_check
from gpu_providers.runpod import credentials
from gpu_providers.runpod.client import RunPodClient

KEY, BALANCE = "runpod key", "runpod balance"
_ADD_MONEY = "add credit at https://www.runpod.io/console/user/billing: RunPod ends what runs when there is none left"


def checks(environ: Mapping[str, str], connect: Callable[[], RunPodClient]) -> Iterator[Check]:
    """The key, where it is from and whether RunPod takes it, and what the account has left. Never raises.

    No key is no trouble: the cloud is not used.
    """

    def reached() -> RunPodClient:
        client = connect()
        client.pods()
        return client

    where = credentials.VARIABLE if environ.get(credentials.VARIABLE, "").strip() else f"~/{credentials.CONFIG}"
    accepted, client = key_check(KEY, where, reached)
    yield accepted
    if client is None:
        return
    balance_usd = client.balance_usd()
    if balance_usd is not None:
        hint = "" if balance_usd > 0 else _ADD_MONEY
        yield Check(BALANCE, balance_usd > 0, f"{balance_usd:.2f} USD left", hint=hint)
