"""The launch of a deployment: from offers to a healthy endpoint whose stops are confirmed, or to nothing at all."""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import STARTING, Deployment, State
from gpu_cli.fleet.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard_process import ensure_guard
from gpu_cli.fleet.health import NotHealthy, Start, wait_until_healthy
from gpu_cli.fleet.interrupt import shielded
from gpu_cli.fleet.runtime import prepare_process, process_request, resource_name
from gpu_cli.fleet.store import StateMoved, StoreCorrupt
from gpu_cli.fleet.teardown import tear_down
from gpu_cli.recipe.schema import Recipe
from gpu_cli.ui.progress import Progress
from gpu_cli.units import format_duration, format_usd
from gpu_providers.base import Offer, Provider, Resource
from gpu_providers.errors import (
    AuthError,
    InsufficientFunds,
    InvalidRequest,
    ProviderError,
)

SHORTEST_BUDGET_S = 300.0
"""A budget that lasts less than this pays for a start and nothing else."""
CONFIRM_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Wanted:
    """What `gpu up` was asked for."""

    recipe: Recipe
    name: str
    limits: Limits
    wait: bool = True
    """Come back only when it is healthy; without it the guard watches the rest of the start."""
    tied: bool = False
    """It must not outlive the calling process (`gpu run`)."""


@dataclass(frozen=True)
class Attempt:
    """A candidate that could not be launched."""

    offer: Offer
    error: ProviderError


def launch(fleet: Fleet, wanted: Wanted, candidates: Sequence[Offer], progress: Progress) -> Deployment:
    """The first candidate that can be launched, healthy (or just launched, without `wait`).

    The caller holds the launch lock of the name. After any error nothing is left, or the error says what is. Raises
    UserError: LAUNCH_FAILED when no candidate could be launched, NEVER_HEALTHY, LIMIT_REACHED, CLEANUP_UNCONFIRMED.
    """
    _check_budget(wanted, candidates[0])
    failed: list[Attempt] = []
    refused: set[str] = set()
    for offer in candidates:
        if offer.provider in refused:
            continue
        try:
            return _launch_one(fleet, wanted, offer, progress)
        except InvalidRequest as error:
            raise UserError(Exit.BAD_INPUT, "refused", error.message, hint=error.hint) from error
        except ProviderError as error:
            progress.note(f"{offer.offer_id}: {error.message}")
            failed.append(Attempt(offer, error))
            if isinstance(error, AuthError | InsufficientFunds):
                refused.add(offer.provider)
    raise _nothing_launched(failed)


def watch_start(
    fleet: Fleet, deployment: Deployment, progress: Progress, *, tied: bool, start_deadline_at: float
) -> Deployment:
    """See a launched deployment through to ready, or tear it down and raise the UserError that says why."""
    try:
        with _cleanup(fleet, deployment, progress):
            return _until_ready(fleet, deployment, progress, tied=tied, start_deadline_at=start_deadline_at)
    except NotHealthy as error:
        raise error.as_user_error(f"log: {log_path(fleet, deployment)}") from error


def check_name_free(fleet: Fleet, name: str) -> None:
    """For `gpu run`, whose deployment must be its own. Raises UserError when one of this name lives."""
    if fleet.store.find_live(name):
        hint = f"use it (gpu env {name}), or leave --name out"
        raise UserError(Exit.BAD_INPUT, "name-taken", f"{name} is running already", hint=hint)


def log_path(fleet: Fleet, deployment: Deployment) -> Path:
    """Where the log of a deployment that failed is kept: its own machine's copy ends with the machine."""
    return fleet.paths.state / "logs" / f"{deployment.resource_name}.log"


def _launch_one(fleet: Fleet, wanted: Wanted, offer: Offer, progress: Progress) -> Deployment:
    deployment = _planned(fleet, wanted, offer)
    fleet.store.add(deployment)
    with _cleanup(fleet, deployment, progress):
        ensure_guard(fleet)
        prepared = prepare_process(fleet, wanted.recipe, offer, progress)
        if prepared.note:
            progress.note(prepared.note)
        key = fleet.keys.create(deployment.resource_name)
        provider = fleet.provider(offer.provider)
        deployment = _intend(fleet, wanted, deployment)
        request = process_request(fleet, wanted.recipe, deployment, offer, prepared, key)
        deployment = _launched(fleet, deployment, provider.launch(request), tied=wanted.wait or wanted.tied)
    if not wanted.wait:
        return deployment
    return watch_start(fleet, deployment, progress, tied=wanted.tied, start_deadline_at=deployment.start_deadline_at)


def _planned(fleet: Fleet, wanted: Wanted, offer: Offer) -> Deployment:
    now, limits = fleet.clock.now(), wanted.limits
    return Deployment(
        resource_name=resource_name(wanted.name, secrets.token_hex(3)),
        name=wanted.name,
        recipe=wanted.recipe.name,
        recipe_digest=wanted.recipe.digest(),
        state=State.PLANNED,
        provider=offer.provider,
        kind=offer.kind,
        gpu=offer.gpu,
        gpu_count=offer.gpu_count,
        region=offer.region,
        model=wanted.recipe.served_name,
        price_usd_per_hour=offer.price_usd_per_hour,
        idle_s=limits.idle_s,
        deadline_at=now + limits.ttl_s,
        start_deadline_at=now + limits.start_deadline_s,
        budget_usd=limits.budget_usd,
        created_at=now,
    )


def _intend(fleet: Fleet, wanted: Wanted, deployment: Deployment) -> Deployment:
    """On record before the cloud is asked. The limits count from here: what is prepared on this side costs nothing."""
    now = fleet.clock.now()
    return _advance(
        fleet,
        deployment,
        State.LAUNCHING,
        launched_at=now,
        deadline_at=now + wanted.limits.ttl_s,
        start_deadline_at=now + wanted.limits.start_deadline_s,
    )


def _launched(fleet: Fleet, deployment: Deployment, resource: Resource, *, tied: bool) -> Deployment:
    return _advance(
        fleet,
        deployment,
        State.BOOTING,
        resource_id=resource.resource_id,
        endpoint=resource.endpoint,
        price_usd_per_hour=resource.price_usd_per_hour,
        tied=tied,
    )


def _until_ready(
    fleet: Fleet, deployment: Deployment, progress: Progress, *, tied: bool, start_deadline_at: float
) -> Deployment:
    provider, name = fleet.provider(deployment.provider), deployment.resource_name
    key = fleet.keys.read(name)
    if key is None:
        raise UserError(Exit.NEVER_HEALTHY, "no-key", f"the API key of {deployment.name} is not on this machine")
    with EngineClient(deployment.endpoint, key) as client:
        start = Start(
            provider=provider,
            resource_id=deployment.resource_id,
            client=client,
            model=deployment.model,
            deadline_at=start_deadline_at,
            clock=fleet.clock,
            progress=progress,
            check_still_wanted=lambda: _still_wanted(fleet, name),
            engine_runs=lambda: _loading(fleet, name),
        )
        try:
            wait_until_healthy(start)
        except NotHealthy:
            _keep_log(fleet, provider, deployment)
            raise
        progress.stage("stops")
        _confirm_supervisor(fleet, client, deployment)
    ensure_guard(fleet)
    return _ready(fleet, _still_wanted(fleet, name), tied=tied)


def _ready(fleet: Fleet, deployment: Deployment, *, tied: bool) -> Deployment:
    """Another process may have watched the same start (`gpu wait` beside the guard): the first one wins."""
    if deployment.state is State.BOOTING:
        deployment = _advance(fleet, deployment, State.LOADING)
    if deployment.state is State.READY:
        return deployment
    now = fleet.clock.now()
    return _advance(fleet, deployment, State.READY, ready_at=now, active_at=now, supervisor_armed=True, tied=tied)


def _loading(fleet: Fleet, name: str) -> None:
    deployment = fleet.store.get(name)
    if deployment.state is State.BOOTING:
        _advance(fleet, deployment, State.LOADING)


def _advance(fleet: Fleet, deployment: Deployment, to: State, **changes: Any) -> Deployment:
    """One step towards ready, unless another process took it, or ended the deployment (UserError)."""
    try:
        return fleet.store.move(deployment, to, at=fleet.clock.now(), **changes)
    except StateMoved:
        return _still_wanted(fleet, deployment.resource_name)


def _still_wanted(fleet: Fleet, name: str) -> Deployment:
    """Raises UserError when someone (`gpu down`, the guard) is ending it or has ended it."""
    deployment = fleet.store.get(name)
    if deployment.state in STARTING or deployment.state is State.READY:
        return deployment
    limit = deployment.reason in ("deadline", "budget")
    status = Exit.LIMIT_REACHED if limit else Exit.NEVER_HEALTHY
    why = deployment.reason or str(deployment.state)
    raise UserError(status, "ended-while-starting", f"{deployment.name} was ended while it was starting ({why})")


def _confirm_supervisor(fleet: Fleet, client: EngineClient, deployment: Deployment) -> None:
    """The supervisor's own word that it runs and knows its limits. Raises UserError when it does not come."""
    give_up_at = fleet.clock.now() + CONFIRM_DEADLINE_S
    said = "no answer"
    while fleet.clock.now() < give_up_at:
        try:
            status = client.supervisor()
        except (EngineUnreachable, EngineRefused) as error:
            said = str(error)
        else:
            if status.get("idle_s") == deployment.idle_s and status.get("phase") in ("loading", "serving"):
                return
            said = f"it says idle_s={status.get('idle_s')}, phase={status.get('phase')}"
        fleet.clock.sleep(0.3)
    raise UserError(
        Exit.NEVER_HEALTHY,
        "stops-unconfirmed",
        f"the supervisor of {deployment.name} did not confirm what will end it: {said}",
        hint="nothing that cannot end itself is left running; try again, and report it if it happens again",
    )


@contextlib.contextmanager
def _cleanup(fleet: Fleet, deployment: Deployment, progress: Progress) -> Iterator[None]:
    """Whatever goes wrong inside, Ctrl-C included: nothing is left running."""
    try:
        yield
    except BaseException as error:
        with shielded():
            progress.note(f"ending {deployment.name}: {_why(error)}")
            tear_down(fleet, _as_recorded(fleet, deployment), _why(error))
        raise


def _as_recorded(fleet: Fleet, deployment: Deployment) -> Deployment:
    """What the store knows by now; a store that fails must not keep us from destroying what we know ourselves."""
    with contextlib.suppress(UserError, StoreCorrupt):
        return fleet.store.get(deployment.resource_name)
    return deployment


def _why(error: BaseException) -> str:
    if isinstance(error, NotHealthy):
        return f"{error.diagnosis.code}: {error.diagnosis.message}"
    if isinstance(error, UserError):
        return f"{error.code}: {error.message}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def _keep_log(fleet: Fleet, provider: Provider, deployment: Deployment) -> None:
    path = log_path(fleet, deployment)
    try:
        lines = list(provider.logs(deployment.resource_id))
    except ProviderError as error:
        lines = [f"the log could not be read: {error}"]
    with contextlib.suppress(OSError):  # a full disk: the failure itself is what the user has to hear of
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text("\n".join(lines) + "\n")


def _check_budget(wanted: Wanted, offer: Offer) -> None:
    budget_usd, price = wanted.limits.budget_usd, offer.price_usd_per_hour
    if budget_usd is None or price <= 0:
        return
    lasts_s = budget_usd / price * 3600
    if lasts_s < SHORTEST_BUDGET_S:
        lasts = format_duration(round(lasts_s))
        raise UserError(
            Exit.LIMIT_REACHED,
            "budget-too-small",
            f"{format_usd(budget_usd)} lasts {lasts} at {format_usd(price)}/h: not even a start",
            hint="raise the budget (--budget), or lower the price that you accept (max_price_usd_per_hour)",
        )


def _nothing_launched(failed: Sequence[Attempt]) -> UserError:
    credentials = all(isinstance(attempt.error, AuthError | InsufficientFunds) for attempt in failed)
    tried = "; ".join(f"{attempt.offer.offer_id}: {attempt.error.message}" for attempt in failed)
    hints = dict.fromkeys(attempt.error.hint for attempt in failed if attempt.error.hint)
    return UserError(
        Exit.CREDENTIALS if credentials else Exit.LAUNCH_FAILED,
        "not-launched",
        f"nothing could be launched: {tried}",
        hint="; ".join(hints),
    )
