"""Waiting for an engine: its host comes up, `/health`, the model is listed, and a completion comes back."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.launch.connection import Connection
from gpu_cli.fleet.launch.engine_log import Diagnosis, diagnose, last_words, milestone
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.fleet.reach.wake import Knock
from gpu_cli.ui.progress import Progress
from gpu_cli.units import format_duration
from gpu_providers.base import Boot, Provider
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest, NotFound, ProviderError

LONGEST_POLL_S = 1.0
NO_PROGRESS_S = 900.0
"""A start that neither logs nor answers for this long has stopped: big loads are slow, but they say so."""
CANARY_TIMEOUT_S = 120.0
CANARY_TRIES = 3
"""Of one whose connection breaks: the way to an engine may be a tunnel, which is made anew."""
LOG_LINES = 400


class NotHealthy(Exception):
    """It will not become healthy. `lines` is the end of its log."""

    def __init__(self, diagnosis: Diagnosis, lines: Sequence[str]) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis
        self.lines = tuple(lines)

    def for_the_user(self, log_hint: str) -> "NeverHealthy":
        """With where the log is."""
        hint = "; ".join(text for text in (self.diagnosis.hint, log_hint) if text)
        status = Exit.LIMIT_REACHED if self.diagnosis.code == "deadline" else Exit.NEVER_HEALTHY
        return NeverHealthy(status, self.diagnosis.code, self.diagnosis.message, hint=hint)


class NeverHealthy(UserError):
    """What was launched has not become healthy; `code` is the diagnosis: `out-of-memory`, `engine-died`, …"""


@dataclass(frozen=True)
class Start:
    """A start to be watched."""

    provider: Provider
    resource_id: str
    connection: Connection
    """To the engine; it is told where the cloud says that this is."""
    model: str
    deadline_at: float
    boot_deadline_s: float
    """How long its host may show no sign of progress."""
    clock: Clock
    progress: Progress
    check_still_wanted: Callable[[], object]
    """Called at every turn; raises when someone else has ended the deployment."""
    visible_at: float = 0.0
    """Until then the cloud's word that there is nothing means nothing."""
    engine_runs: Callable[[], object] = lambda: None
    """Called once, when the engine's first sign of life was seen."""
    on_rate: Callable[[float], object] = lambda _: None
    """Told what it bills, USD per hour, at every look that says so."""
    on_request: bool = False
    """It starts when it is asked, and the one request that makes it start may be held until it has."""


def wait_until_healthy(start: Start) -> EngineClient:
    """Returns when a completion came back, with the client that got it.

    Raises NotHealthy, or what `check_still_wanted` raises; HostFailed and CommandCrashed when it is the host that
    failed, or nothing says why its command ends: then another host may do. InvalidRequest when no host would do.
    """
    watch = _Watch(start)
    knock = Knock() if start.on_request else None
    while not ((client := start.connection.client) and _is_healthy(client, knock)):
        start.check_still_wanted()
        if watch.is_due():
            watch.look()
        start.clock.sleep(watch.poll_s)
    watch.saw_the_engine()
    _check_serves(start, client, watch)
    return client


def _is_healthy(client: EngineClient, knock: Knock | None) -> bool:
    return knock.is_answered(client) if knock else client.is_healthy()


class _Watch:
    """What was seen of one start: the cloud is asked as seldom as it wants, the engine as often as is polite."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._look_at = -math.inf
        self._booting = True
        self._uptime_s: float | None = None
        self._seen: object = None
        self._moved_at = start.clock.now()
        self._engine_seen = False
        self._told: set[str] = set()
        self.lines: Sequence[str] = ()
        self.poll_s = min(LONGEST_POLL_S, start.provider.poll_interval_s / 5)

    def is_due(self) -> bool:
        """Whether the cloud may be asked again."""
        return self._start.clock.now() >= self._look_at

    def look(self) -> None:
        """Ask the cloud how it goes; raises what `wait_until_healthy` promises."""
        boot = self._boot()
        if boot is not None:
            self._booting = self._booting and not self._runs(boot)
        if self._booting:
            self._show("boot", boot.detail if boot else "")
        else:
            self._read_log()
        self._check_time()
        self._look_at = self._start.clock.now() + self._start.provider.poll_interval_s

    def saw_the_engine(self) -> None:
        """It has shown a sign of life."""
        if not self._engine_seen:
            self._engine_seen = True
            self._start.engine_runs()

    def read(self) -> Sequence[str]:
        """The end of the log; the last that was had, once there is none any more."""
        with contextlib.suppress(ProviderError):
            self.lines = list(self._start.provider.logs(self._start.resource_id, tail=LOG_LINES)) or self.lines
        return self.lines

    def _boot(self) -> Boot | None:
        """The provider's word; None when it could not be asked, which proves nothing."""
        try:
            boot = self._start.provider.boot(self._start.resource_id)
            self._tell(boot.note)
            self._count(boot)
            self._start.connection.reach(boot.endpoint)
            self._check_uptime(boot)
        except (HostFailed, InvalidRequest):
            self.read()
            raise
        except (CommandCrashed, NotFound) as error:
            if isinstance(error, NotFound) and self._start.clock.now() < self._start.visible_at:
                return None
            raise self._dead(error) from error
        except ProviderError:
            return None
        return boot

    def _tell(self, note: str) -> None:
        """Each once, however often its provider says it."""
        if note and note not in self._told:
            self._told.add(note)
            self._start.progress.note(note)

    def _count(self, boot: Boot) -> None:
        if boot.price_usd_per_hour is not None:
            self._start.on_rate(boot.price_usd_per_hour)

    def _check_uptime(self, boot: Boot) -> None:
        """Raises CommandCrashed when it has been started anew since the last look."""
        last_s, self._uptime_s = self._uptime_s, boot.uptime_s
        if last_s is not None and boot.uptime_s is not None and boot.uptime_s < last_s:
            raise CommandCrashed("its command ended and was started again")

    def _dead(self, error: ProviderError) -> Exception:
        """Why it ended, where the log says that; else the provider's own error, when that may be the host's fault."""
        lines = self.read()
        explained = diagnose(lines) or last_words(lines)[0]
        if isinstance(error, CommandCrashed) and not explained:
            return error
        if self._booting and not explained:
            return HostFailed("it vanished while it was booting")
        return NotHealthy(_cause(lines, "the engine ended while it was starting"), lines)

    def _runs(self, boot: Boot) -> bool:
        """What is started by requests may count as running before anything does: there its first words tell."""
        return boot.running and (not self._start.on_request or bool(self.read()))

    def _read_log(self) -> None:
        lines = self.read()
        if lines:
            self.saw_the_engine()
        reached = milestone(lines)
        self._show(reached.stage, reached.detail, lines[-1:])

    def _show(self, stage: str, detail: str, more: object = None) -> None:
        if (stage, detail, more) != self._seen:
            self._seen, self._moved_at = (stage, detail, more), self._start.clock.now()
        self._start.progress.stage(stage)
        self._start.progress.detail(detail)

    def _check_time(self) -> None:
        now = self._start.clock.now()
        if now >= self._start.deadline_at:
            hint = "raise `limits: start_deadline` in the recipe"
            raise NotHealthy(
                Diagnosis("start-deadline", "it was not healthy within the start deadline", hint), self.read()
            )
        patience_s = self._start.boot_deadline_s if self._booting else NO_PROGRESS_S
        if now - self._moved_at < patience_s:
            return
        # It prints, and so it runs, whatever the cloud says; where it cannot be reached that is no help.
        if self._booting and self._start.connection.client and self.read():
            self._booting, self._moved_at = False, now
            return
        waited = format_duration(round(patience_s))
        if self._booting:
            what = "none of its workers came up" if self._start.on_request else "its host showed no progress"
            raise HostFailed(f"{what} for {waited}", hint="wait longer with --boot-deadline")
        message = f"its start came to a standstill ({waited} without progress)"
        raise NotHealthy(Diagnosis("no-progress", message, ""), self.read())


def _check_serves(start: Start, client: EngineClient, watch: _Watch) -> None:
    """`/health` can be 200 with a dead engine: only a completion proves that it works."""
    give_up_at = start.clock.now() + CANARY_TIMEOUT_S
    for tries_left in reversed(range(CANARY_TRIES)):
        try:
            _try_canary(start, client)
        except (EngineRefused, EngineUnreachable) as error:
            broke_off = isinstance(error, EngineUnreachable) and start.clock.now() < give_up_at
            if not (broke_off and tries_left):
                lines = watch.read()
                raise NotHealthy(_cause(lines, f"the engine does not work: {error}"), lines) from error
        else:
            return
        start.clock.sleep(watch.poll_s)


def _try_canary(start: Start, client: EngineClient) -> None:
    start.progress.stage("healthy")
    served = client.models()
    if start.model not in served:
        found = ", ".join(served) or "nothing"
        raise EngineRefused(f"it serves {found} instead of {start.model}")
    start.progress.stage("canary")
    client.complete(start.model, timeout_s=CANARY_TIMEOUT_S)


def _cause(lines: Sequence[str], otherwise: str) -> Diagnosis:
    """The supervisor's reason where that is a limit; else what the engine's log tells."""
    reason, detail = last_words(lines)
    if reason and reason != "engine-died":
        return Diagnosis(reason, f"its supervisor ended it: {reason} ({detail})", "")
    return diagnose(lines) or Diagnosis("engine-died", otherwise, "")
