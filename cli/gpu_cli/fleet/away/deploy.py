"""The guard away from here: a function at Modal that ends at Lambda what is overdue or idle, while this machine sleeps.

What runs there is `templates/away_guard.py`, every five minutes, with the user's key for Lambda in a Secret of Modal's.
The guard on this machine tells it by heartbeats, in a Dict, what is in use.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.away.modal_way import modal_client
from gpu_cli.fleet.away.record import CLOUD, EVERY_MINUTES, Away, Seen, forget, note, record, seen
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.paths import Paths, shipped
from gpu_cli.ui.progress import Progress
from gpu_providers.base import Link, Secret
from gpu_providers.modal_cloud.sources import loaded, outside_of_git

if TYPE_CHECKING:
    from modal import Client

NAME = "gpu-guard"
"""Of the app, its Secret and its Dict at Modal."""
TURNED_AT = "turned_at"
"""In the Dict, beside the heartbeats: when it last ended a turn."""
PYTHON = "3.12"
TURN_S = 240
"""One turn ends before the next."""
DEPLOY_S = 1800.0
"""A deploy, with an image that Modal may have to build, and the first turn."""
HANDED_OVER = f"Modal gets your API key for Lambda, which may do everything there, as the Secret {NAME}"


def deploy(fleet: Fleet, progress: Progress) -> Away:
    """Deploy it, or anew with the key as it is now, and let it take one turn for real. When that fails nothing of it is
    left.

    Raises UserError: CREDENTIALS when Modal refuses the token or Lambda the key, LAUNCH_FAILED for all else.
    """
    from gpu_providers.api_keys import fingerprint

    key = _key(fleet.environ)
    with modal_client(within_s=DEPLOY_S) as client:
        client.hello()  # a token that is refused changes nothing
        progress.note(HANDED_OVER)
        with _whole_or_not_at_all(client, fleet.paths, progress):
            progress.detail("deploying")
            function = _deployed(client, _environment(key, fleet.environ))
            progress.detail("its first turn")
            for line in _first_turn(function):
                progress.note(f"at Modal: {line}")
            now = fleet.clock.now()
            away = Away("modal", now, fingerprint(key))
            record(fleet.paths, away, Seen(asked_at=now, turned_at=now))
    return away


def undeploy(fleet: Fleet) -> bool:
    """Remove it, the key and the heartbeats from Modal. False when there was no such app. Raises UserError."""
    with modal_client() as client:
        existed = _remove(client)
    forget(fleet.paths)
    return existed


def beat(fleet: Fleet, live: Sequence[Deployment]) -> None:
    """Tell it which of these are in use, as far as they can be used through the guard of this machine only, and note
    whether it is at work. Modal is asked for nothing where none of these is at its cloud.

    Nothing is told of what another machine of the user's has launched: that one knows. Raises UserError.
    """
    watched = [one for one in live if one.provider == CLOUD]
    if not watched:
        return
    now, before = fleet.clock.now(), seen(fleet.paths)
    beats = {one.resource_name: _beat(one, now, before.behind_s) for one in watched if _is_ours(fleet, one)}
    with modal_client() as client:
        turned_at = _told(client, beats)
    behind_s = before.behind_s if turned_at == before.turned_at else max(0.0, turned_at - now)
    note(fleet.paths, asked_at=now, turned_at=turned_at, behind_s=behind_s, trouble="")


def _beat(deployment: Deployment, now: float, behind_s: float) -> Mapping[str, float | None]:
    """By Modal's clock: what is in use must not look idle there because the clock here has stood still in its sleep."""
    active_at = None if deployment.active_at is None else deployment.active_at + behind_s
    return {"beat_at": now + behind_s, "active_at": active_at}


def look(fleet: Fleet) -> None:
    """Ask Modal whether it is there and at work, and note that. Raises UserError."""
    with modal_client() as client:
        turned_at = _told(client, {}) if _exists(client) else 0.0
    note(fleet.paths, asked_at=fleet.clock.now(), turned_at=turned_at)


def _told(client: "Client", beats: Mapping[str, object]) -> float:
    """Leave it this; when it ended its last turn, 0 where nothing of it is there. Raises Modal's errors."""
    import modal

    shared = modal.Dict.from_name(NAME, client=client)
    try:
        if beats:
            shared.update(beats)
        turned_at: float = shared.get(TURNED_AT, 0.0)
    except modal.exception.NotFoundError:
        return 0.0
    return turned_at


def _exists(client: "Client") -> bool:
    import modal

    try:
        modal.App.lookup(NAME, client=client)
    except modal.exception.NotFoundError:
        return False
    return True


def _is_ours(fleet: Fleet, deployment: Deployment) -> bool:
    return deployment.link is Link.SSH and fleet.keys.read(deployment.resource_name) is not None


def _key(environ: Mapping[str, str]) -> Secret:
    from gpu_providers.errors import AuthError
    from gpu_providers.lambda_cloud.credentials import api_key

    try:
        return api_key(environ)
    except AuthError as error:
        raise UserError(Exit.CREDENTIALS, "credentials", error.message, hint=error.hint) from error


def _environment(key: Secret, environ: Mapping[str, str]) -> dict[str, str]:
    from gpu_providers.lambda_cloud.credentials import VARIABLE
    from gpu_providers.lambda_cloud.provider import API_URL, API_URL_VARIABLE

    return {VARIABLE: key.reveal(), API_URL_VARIABLE: environ.get(API_URL_VARIABLE) or API_URL}


@contextmanager
def _whole_or_not_at_all(client: "Client", paths: Paths, progress: Progress) -> Iterator[None]:
    """What does not work protects nobody, and must not keep a key at Modal nor a record here."""
    forget(paths)
    try:
        yield
    except BaseException:
        progress.note(_cleared(client))
        raise


def _cleared(client: "Client") -> str:
    """What became of all that was there already."""
    try:
        _remove(client)
    except Exception:  # noqa: BLE001 - the user has to know why it was not deployed, whatever Modal says now
        return "what is at Modal could not be removed, perhaps the key too: gpu guard undeploy"
    return "nothing of it is left at Modal"


def _deployed(client: "Client", environment: dict[str, str]) -> Any:
    """The function, once the app is published."""
    import modal

    _keep_secret(client, environment)
    modal.Dict.objects.create(NAME, allow_existing=True, client=client)
    app = modal.App(NAME)
    function = app.function(
        image=modal.Image.debian_slim(python_version=PYTHON),
        secrets=[modal.Secret.from_name(NAME, client=client)],
        schedule=modal.Period(minutes=EVERY_MINUTES),
        timeout=TURN_S,
        max_containers=1,
        single_use_containers=True,  # one that is still warm would have the Secret as it was
    )(loaded(shipped("templates") / "away_guard.py").enforce)
    with outside_of_git():
        app.deploy(client=client)
    return function


def _keep_secret(client: "Client", environment: dict[str, str]) -> None:
    """As it is now: a function that is deployed already names this very Secret."""
    import modal

    try:
        modal.Secret.objects.create(NAME, environment, client=client)
    except modal.exception.AlreadyExistsError:
        modal.Secret.from_name(NAME, client=client).update(environment)


def _first_turn(function: Any) -> Sequence[str]:
    """What it says. It raises what the template raises there."""
    try:
        said: Sequence[str] = function.remote()
    except PermissionError as error:
        hint = "make a key at https://cloud.lambda.ai/api-keys, set LAMBDA_API_KEY, and deploy again"
        raise UserError(Exit.CREDENTIALS, "refused", f"at Modal: {error}", hint=hint) from error
    except (OSError, RuntimeError) as error:
        message = f"at Modal, the first turn failed: {error}"
        raise UserError(Exit.LAUNCH_FAILED, "away-failed", message, hint="try again, or see `gpu doctor`") from error
    return said


def _remove(client: "Client") -> bool:
    """Whether there was an app. Raises Modal's errors."""
    import modal

    if existed := _exists(client):
        modal.App.lookup(NAME, client=client).stop(client=client)
    modal.Secret.objects.delete(NAME, allow_missing=True, client=client)
    modal.Dict.objects.delete(NAME, allow_missing=True, client=client)
    return existed
