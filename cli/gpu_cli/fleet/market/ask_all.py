"""Several clouds asked at once, where none is waited for much longer than for the others."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from gpu_cli.fleet.fleet import Fleet
from gpu_providers.base import Provider
from gpu_providers.errors import ProviderError, ProviderUnavailable
from gpu_providers.in_parallel import together

PATIENCE_S = 8.0
"""How long clouds may take that are asked together: each with several requests, some of them sent twice."""
LAST_ONE_S = 4.0
"""How long the last one may go on once all others have answered."""

T = TypeVar("T")


def ask_all(
    fleet: Fleet, names: Iterable[str], ask: Callable[[Provider], T], patience_s: float = PATIENCE_S
) -> Mapping[str, T | ProviderError]:
    """What `ask` tells of each of these providers, or why it tells nothing: also of one that does not load, or does
    not answer in time.

    `ask` runs in a thread of its own, which may outlive this call: it must not use the fleet's store.
    """
    work = {name: partial(_ask, fleet, name, ask) for name in names}
    answers = together(work, str, patience_s=patience_s, last_one_s=LAST_ONE_S)
    return {name: answers[name] if name in answers else no_answer(name) for name in work}


def no_answer(provider: str) -> ProviderUnavailable:
    """What is said of one that was not waited for any longer."""
    return ProviderUnavailable(f"{provider} does not answer", hint="try again later, or see: gpu doctor")


def _ask(fleet: Fleet, name: str, ask: Callable[[Provider], T]) -> T | ProviderError:
    try:
        return ask(fleet.provider(name))
    except ProviderError as error:
        return error
    except Exception as error:  # noqa: BLE001 - one bad plug-in must not keep the others from being asked
        return ProviderUnavailable(f"{name} failed when it was asked: {type(error).__name__}: {error}")
