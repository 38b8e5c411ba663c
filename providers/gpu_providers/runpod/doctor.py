"""What `gpu doctor` says about RunPod."""

from collections.abc import Callable, Iterator, Mapping

from gpu_providers.base import Check
from gpu_providers.errors import NoCredentials, ProviderError
from gpu_providers.runpod import credentials
from gpu_providers.runpod.client import RunPodClient

KEY, BALANCE = "runpod key", "runpod balance"
_ADD_MONEY = "add credit at https://www.runpod.io/console/user/billing: RunPod ends what runs when there is none left"


def checks(environ: Mapping[str, str], connect: Callable[[], RunPodClient]) -> Iterator[Check]:
    """The key, where it is from and whether RunPod takes it, and what the account has left. Never raises.

    No key is no trouble: the cloud is not used.
    """
    where = credentials.VARIABLE if environ.get(credentials.VARIABLE, "").strip() else f"~/{credentials.CONFIG}"
    try:
        client = connect()
        client.pods()
    except NoCredentials as error:
        yield Check(KEY, True, f"{error.message}: it is not used", hint=error.hint)
        return
    except ProviderError as error:
        yield Check(KEY, False, f"{where}: {error.message}", hint=error.hint)
        return
    yield Check(KEY, True, f"{where}: accepted")
    balance_usd = client.balance_usd()
    if balance_usd is not None:
        hint = "" if balance_usd > 0 else _ADD_MONEY
        yield Check(BALANCE, balance_usd > 0, f"{balance_usd:.2f} USD left", hint=hint)
