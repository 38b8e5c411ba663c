"""The checks of `gpu doctor`: this machine, its engine, its credentials, and every provider."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from gpu_cli import __version__
from gpu_cli.engine.build import Machine, build_for
from gpu_cli.engine.environment import Engines
from gpu_cli.errors import UserError
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import guard_lives
from gpu_cli.recipe.schema import DEFAULT_ENGINE_VERSION
from gpu_providers.base import Check, Provider

LOW_DISK_GIB = 6.0
"""The CPU engine and a small model."""
MAX_CLOCK_ERROR_S = 60.0
HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 3.0
PROVIDER_PATIENCE_S = 15.0
"""How long providers are waited for; all are asked at once."""


def check_all(fleet: Fleet) -> Sequence[Check]:
    """Everything, in the order in which a user would mend it. A check that fails does not stop the others."""
    return list(_checks(fleet))


def _checks(fleet: Fleet) -> Iterator[Check]:
    providers, broken = fleet.providers()
    asked = {provider.name: _asked(provider) for provider in providers}
    yield Check("gpu", True, f"{__version__}; state in {fleet.paths.state}")
    yield _disk(fleet.paths.cache)
    yield _engine(fleet)
    yield _guard(fleet)
    yield from _hub(fleet)
    yield _hub_token(fleet)
    wait(asked.values(), PROVIDER_PATIENCE_S)
    for name, answer in asked.items():
        yield from _answered(name, answer)
    for error in broken:
        yield Check("provider", False, error.message, error.hint)


def _asked(provider: Provider) -> "Future[Sequence[Check]]":
    """In a thread that nobody has to wait for: a cloud that hangs must not hold up the program's end."""
    answer: Future[Sequence[Check]] = Future()

    def ask() -> None:
        try:
            answer.set_result(provider.check())
        except Exception as error:  # noqa: BLE001 - a plug-in may break its promise, and is named for it
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer


def _answered(name: str, answer: "Future[Sequence[Check]]") -> Sequence[Check]:
    if not answer.done():
        return [Check(name, False, f"does not answer within {PROVIDER_PATIENCE_S:.0f} s", "try again later")]
    if error := answer.exception():
        return [Check(name, False, f"its check failed: {type(error).__name__}: {error}", "report it to its author")]
    return answer.result()


def _disk(cache: Path) -> Check:
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    enough = free_gib >= LOW_DISK_GIB
    hint = "" if enough else "free some space, or set GPU_HOME to a folder on another disk"
    return Check("disk", enough, f"{free_gib:.0f} GiB free for {cache}", hint)


def _engine(fleet: Fleet) -> Check:
    """Whether one is installed, or could be."""
    found = Engines(fleet.paths.cache).installed()
    installed = [engine.key for engine in found if engine.complete and engine.purpose == "serve"]
    if installed:
        return Check("engine", True, f"installed: {', '.join(installed)}")
    try:
        build = build_for(DEFAULT_ENGINE_VERSION, gpu_count=0, machine=Machine.here())
    except UserError as error:
        return Check("engine", False, error.message, error.hint)
    return Check("engine", True, f"none yet; gpu up installs {build.key} on first use")


def _guard(fleet: Fleet) -> Check:
    live, lives = len(fleet.store.live()), guard_lives(fleet.paths)
    if live and not lives:
        return Check("guard", False, f"not running, with {live} deployments alive", "start it: gpu up of a running one")
    return Check("guard", True, "running" if lives else "not running; gpu up starts it")


def _hub(fleet: Fleet) -> Iterator[Check]:
    """Whether the hub answers, and how far this clock is from its own: deadlines and signatures need a right one."""
    hub = fleet.environ.get("HF_ENDPOINT", HUB)
    try:
        response = httpx.head(hub, timeout=HUB_TIMEOUT_S)
    except httpx.HTTPError as error:
        message = f"{hub} does not answer ({type(error).__name__}); weights come from other sources or the cache"
        yield Check("hub", True, message)
        yield Check("clock", True, "not compared: there is no one to compare it with")
        return
    yield Check("hub", True, f"{hub} answers")
    if date := response.headers.get("date"):
        error_s = fleet.clock.now() - parsedate_to_datetime(date).timestamp()
        right = abs(error_s) <= MAX_CLOCK_ERROR_S
        hint = "" if right else "set the clock (NTP): deadlines and signed requests depend on it"
        yield Check("clock", right, f"{abs(error_s):.0f} s from the hub's", hint)


def _hub_token(fleet: Fleet) -> Check:
    if fleet.environ.get("HF_TOKEN"):
        return Check("HF_TOKEN", True, "set")
    return Check("HF_TOKEN", True, "not set; only gated models need it", "https://huggingface.co/settings/tokens")
