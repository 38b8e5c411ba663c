"""`gpu volume`: network volumes, which keep weights where GPUs are rented."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, complete_recipe
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

if TYPE_CHECKING:
    from gpu_providers.base import Volume, VolumeStore
    from gpu_providers.errors import ProviderError

USUAL_PROVIDER = "runpod"
GONE_AFTER_S = (0.0, 1.0, 2.0)
"""When to look, each after the look before it: a cloud may list for a moment what it has deleted."""

volume_app = typer.Typer(
    help="Network volumes: weights kept where GPUs are rented. They cost until they are deleted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ProviderName = Annotated[str, typer.Option("--provider", help="The cloud; one with network volumes.")]
VolumeName = Annotated[str, typer.Argument(metavar="NAME|ID", help="As gpu volume ls lists it.")]


@volume_app.command()
def ls(provider: ProviderName = USUAL_PROVIDER, as_json: AsJson = False) -> None:
    """Show the volumes, and what they cost."""
    from gpu_cli.ui.output import Result, Table, show

    with _volumes_of(provider) as store:
        volumes = store.volumes()
    rows = tuple((v.name, v.volume_id, str(v.size_gb or "grows"), v.region, _price(v)) for v in volumes)
    table = Table(("NAME", "ID", "GB", "REGION", "A MONTH"), rows)
    messages = () if volumes else (f"{provider} has no volumes of yours; make one: gpu volume create{_at(provider)}",)
    document = {"volumes": [_document(volume) for volume in volumes]}
    show(Result(document, table=table if volumes else None, messages=messages), as_json=as_json)


@volume_app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called; one of a name.")],
    region: Annotated[str, typer.Option("--region", help="Data center, such as EU-RO-1; what uses it runs there too.")],
    size: Annotated[
        int, typer.Option("--size", help="GB; for clouds whose volumes do not grow by themselves.", show_default=False)
    ] = 0,
    provider: ProviderName = USUAL_PROVIDER,
    as_json: AsJson = False,
) -> None:
    """Make a volume. It costs from now on, until it is deleted."""
    from gpu_cli.ui.output import Result, show

    with _volumes_of(provider) as store:
        volume = store.create_volume(name, size, region)
        next_step = _next_step(store, volume)
    ignored = (f"--size was ignored: volumes of {provider} have none",) if size and not volume.size_gb else ()
    messages = (f"made {volume.name} in {volume.region}: {_terms(volume)}, until it is deleted", *ignored, next_step)
    document = {"volume": _document(volume)}
    show(Result(document, stdout=volume.volume_id, messages=messages), as_json=as_json)


@volume_app.command()
def rm(
    name: VolumeName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    provider: ProviderName = USUAL_PROVIDER,
    as_json: AsJson = False,
) -> None:
    """Delete a volume with all that it holds; asks first."""
    from gpu_cli.ui.output import Result, show

    with _volumes_of(provider) as store:
        volume = _the_volume(store, name)
        if not yes:
            _ask(volume)
        store.delete_volume(volume.volume_id)
        _check_gone(store, volume)
    document = {"removed": _document(volume)}
    show(Result(document, messages=(f"deleted {volume.name} ({volume.volume_id})",)), as_json=as_json)


@volume_app.command("push")
def push_model(
    model: Annotated[
        str, typer.Argument(help="ORG/MODEL of Hugging Face, or a recipe.", autocompletion=complete_recipe)
    ],
    volume: Annotated[str, typer.Option("--volume", help="The volume's name or id.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit; default: main.")] = None,
    provider: ProviderName = USUAL_PROVIDER,
    as_json: AsJson = False,
) -> None:
    """Fill a volume with a model, for what starts beside it to load. Broken off, it goes on when it is repeated."""
    from gpu_cli.ui.output import Result, show
    from gpu_cli.ui.stages import progress_on_stderr
    from gpu_cli.weights.hub_cache import HUB_FOLDER
    from gpu_cli.weights.meter import GB
    from gpu_cli.weights.push import push, what_to_push

    wanted = what_to_push(model, revision, os.environ)
    with _volumes_of(provider) as store, progress_on_stderr() as progress:
        target = _the_volume(store, volume)
        pushed = push(wanted.model, wanted.revision, target, store.bucket(target), os.environ, progress)
    path = f"{store.volume_path}/{HUB_FOLDER}"
    messages = (
        f"{target.name} holds {pushed.model}: {pushed.total_bytes / GB:.1f} GB, {pushed.sent_bytes / GB:.1f} sent now",
        f"to use it, put this into a recipe: cache: {{{provider}: {target.name}}}",
    )
    document = {
        "model": pushed.model,
        "revision": wanted.revision,
        "commit": pushed.commit,
        "volume": _document(target),
        "hub_cache": path,
        "files": pushed.files,
        "bytes": pushed.total_bytes,
        "sent_bytes": pushed.sent_bytes,
    }
    show(Result(document, messages=messages), as_json=as_json)


@contextmanager
def _volumes_of(provider: str) -> Iterator["VolumeStore"]:
    """The provider's volumes. What it refuses inside comes out as UserError."""
    from gpu_cli.paths import Paths
    from gpu_providers import registry
    from gpu_providers.base import ProviderContext, VolumeStore
    from gpu_providers.errors import ProviderError

    try:
        state = Paths.from_environ(os.environ).state / "providers" / provider
        loaded = registry.load(provider, ProviderContext(state, os.environ))
        if not isinstance(loaded, VolumeStore):
            message = f"provider {provider} has no network volumes"
            raise UserError(Exit.BAD_INPUT, "no-volumes", message, hint="name one that has: --provider runpod")
        yield loaded
    except ProviderError as error:
        raise _told(error) from error


def _told(error: "ProviderError") -> UserError:
    from gpu_providers.errors import AuthError, CreateUnknown, InsufficientFunds, InvalidRequest

    if isinstance(error, CreateUnknown):
        hint = "look whether it is there, and delete it if it is not wanted: gpu volume ls"
        return UserError(Exit.CLEANUP_UNCONFIRMED, "create-unknown", error.message, hint=hint)
    if isinstance(error, AuthError | InsufficientFunds):
        return UserError(Exit.CREDENTIALS, "refused", error.message, hint=error.hint)
    if isinstance(error, InvalidRequest):
        return UserError(Exit.BAD_INPUT, "refused", error.message, hint=error.hint)
    return UserError(Exit.LAUNCH_FAILED, "no-answer", error.message, hint=error.hint)


def _the_volume(store: "VolumeStore", text: str) -> "Volume":
    """The volume of this id, or else of this name. Raises UserError BAD_INPUT."""
    volumes = store.volumes()
    found = [volume for volume in volumes if volume.volume_id == text] or [v for v in volumes if v.name == text]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(volume.volume_id for volume in found)
        raise UserError(Exit.BAD_INPUT, "which-one", f"several volumes are called {text}: {ids}", hint="give an id")
    there = ", ".join(volume.name for volume in volumes)
    hint = f"there are: {there}" if there else "there are none; make one: gpu volume create"
    raise UserError(Exit.BAD_INPUT, "no-such-volume", f"no volume is called {text!r}", hint=hint)


def _next_step(store: "VolumeStore", volume: "Volume") -> str:
    """How to fill it, or what is in the way of that."""
    from gpu_providers.errors import ProviderError

    try:
        store.bucket(volume)
    except ProviderError as error:
        return f"before gpu volume push: {error.message}; {error.hint}"
    return f"next: gpu volume push ORG/MODEL --volume {volume.name}{_at(volume.provider)}"


def _ask(volume: "Volume") -> None:
    if not sys.stdin.isatty():
        message = f"{volume.name} would be deleted with all that it holds, and there is no terminal to ask on"
        raise UserError(Exit.BAD_INPUT, "not-asked", message, hint="delete it with --yes")
    size = f"{volume.size_gb} GB, " if volume.size_gb else ""
    question = f"Delete {volume.name} ({size}{volume.region}) with all that it holds? (--yes answers this)"
    typer.confirm(question, err=True, abort=True)


def _check_gone(store: "VolumeStore", volume: "Volume") -> None:
    """Raises UserError CLEANUP_UNCONFIRMED while the cloud still lists it."""
    for pause_s in GONE_AFTER_S:
        time.sleep(pause_s)
        if all(other.volume_id != volume.volume_id for other in store.volumes()):
            return
    raise UserError(
        Exit.CLEANUP_UNCONFIRMED,
        "cleanup-unconfirmed",
        f"{volume.provider} still lists {volume.name} after it was to be deleted",
        hint=f"try again: gpu volume rm {volume.volume_id}{_at(volume.provider)}",
        still_billing=(f"{volume.name} ({volume.volume_id})",),
    )


def _at(provider: str) -> str:
    """What a command line needs to mean this cloud."""
    return "" if provider == USUAL_PROVIDER else f" --provider {provider}"


def _terms(volume: "Volume") -> str:
    """What it holds and what that costs."""
    if not volume.size_gb:
        return "it grows with what is put into it, and costs by that"
    return f"{volume.size_gb} GB for {_price(volume)} a month"


def _price(volume: "Volume") -> str:
    from gpu_cli.units import format_usd

    return "unknown" if volume.price_usd_per_month is None else format_usd(volume.price_usd_per_month)


def _document(volume: "Volume") -> dict[str, object]:
    return {
        "provider": volume.provider,
        "id": volume.volume_id,
        "name": volume.name,
        "size_gb": volume.size_gb or None,
        "region": volume.region,
        "price_usd_per_month": volume.price_usd_per_month,
    }
