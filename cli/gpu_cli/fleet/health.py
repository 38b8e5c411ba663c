"""Waiting for an engine: the process lives, `/health`, the model is listed, and a completion comes back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.fleet.engine_log import Diagnosis, Milestone, diagnose, last_words, milestone
from gpu_cli.ui.progress import Progress
from gpu_providers.base import Provider, ResourceState
from gpu_providers.errors import NotFound, ProviderError

POLL_S = 0.1
NO_PROGRESS_S = 900.0
"""A start that neither logs nor answers for this long has stopped: big loads are slow, but they say so."""
CANARY_TIMEOUT_S = 120.0
LOG_LINES = 400


class NotHealthy(Exception):
    """It will not become healthy. `lines` is the end of its log."""

    def __init__(self, diagnosis: Diagnosis, lines: Sequence[str]) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis
        self.lines = tuple(lines)

    def as_user_error(self, log_hint: str) -> UserError:
        """For the user, with where the log is."""
        hint = "; ".join(text for text in (self.diagnosis.hint, log_hint) if text)
        status = Exit.LIMIT_REACHED if self.diagnosis.code == "deadline" else Exit.NEVER_HEALTHY
        return UserError(status, self.diagnosis.code, self.diagnosis.message, hint=hint)


@dataclass(frozen=True)
class Start:
    """A start to be watched."""

    provider: Provider
    resource_id: str
    client: EngineClient
    model: str
    deadline_at: float
    clock: Clock
    progress: Progress
    check_still_wanted: Callable[[], object]
    """Called at every turn; raises when someone else has ended the deployment."""
    engine_runs: Callable[[], object] = lambda: None
    """Called once, when the engine's first sign of life was seen."""


def wait_until_healthy(start: Start) -> None:
    """Returns when a completion came back. Raises NotHealthy, or what `check_still_wanted` raises."""
    start.progress.stage("start")
    last_seen: tuple[Milestone, Sequence[str]] | None = None
    moved_at, seen_running = start.clock.now(), False
    while not start.client.is_healthy():
        start.check_still_wanted()
        lines = _log(start)
        if _is_dead(start):
            lines = _log(start)
            raise NotHealthy(_cause(lines, "the engine ended while it was starting"), lines)
        if lines and not seen_running:
            seen_running = True
            start.engine_runs()
        reached = milestone(lines)
        if (reached, lines[-1:]) != last_seen:
            last_seen, moved_at = (reached, lines[-1:]), start.clock.now()
        start.progress.stage(reached.stage)
        start.progress.detail(reached.detail)
        _check_time(start, moved_at, lines)
        start.clock.sleep(POLL_S)
    if not seen_running:
        start.engine_runs()
    _check_serves(start)


def _check_serves(start: Start) -> None:
    """`/health` can be 200 with a dead engine: only a completion proves that it works."""
    try:
        start.progress.stage("healthy")
        served = start.client.models()
        if start.model not in served:
            found = ", ".join(served) or "nothing"
            raise EngineRefused(f"it serves {found} instead of {start.model}")
        start.progress.stage("canary")
        start.client.complete(start.model, timeout_s=CANARY_TIMEOUT_S)
    except (EngineRefused, EngineUnreachable) as error:
        lines = _log(start)
        raise NotHealthy(_cause(lines, f"the engine does not work: {error}"), lines) from error


def _is_dead(start: Start) -> bool:
    """By the provider's word only; a provider that cannot be asked proves nothing."""
    try:
        return start.provider.describe(start.resource_id).state is ResourceState.BROKEN
    except NotFound:
        return True
    except ProviderError:
        return False


def _log(start: Start) -> Sequence[str]:
    try:
        return list(start.provider.logs(start.resource_id, tail=LOG_LINES))
    except ProviderError:
        return []


def _check_time(start: Start, moved_at: float, lines: Sequence[str]) -> None:
    now = start.clock.now()
    if now >= start.deadline_at:
        hint = "raise `limits: start_deadline` in the recipe"
        raise NotHealthy(Diagnosis("start-deadline", "it was not healthy within the start deadline", hint), lines)
    if now - moved_at >= NO_PROGRESS_S:
        message = f"its start came to a standstill ({NO_PROGRESS_S / 60:.0f} minutes without progress)"
        raise NotHealthy(Diagnosis("no-progress", message, ""), lines)


def _cause(lines: Sequence[str], otherwise: str) -> Diagnosis:
    """The supervisor's reason where that is a limit; else what the engine's log tells."""
    reason, detail = last_words(lines)
    if reason and reason != "engine-died":
        return Diagnosis(reason, f"its supervisor ended it: {reason} ({detail})", "")
    return diagnose(lines) or Diagnosis("engine-died", otherwise, "")
