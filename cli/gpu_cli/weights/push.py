"""Puts a model into a network volume, so that what starts beside it loads the weights without downloading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.models.argument import model_argument
from gpu_cli.models.checkpoint import CONFIG
from gpu_cli.models.hub import COMMIT, hugging_face
from gpu_cli.paths import Paths
from gpu_cli.recipe.files import find_recipe
from gpu_cli.ui.progress import Progress
from gpu_cli.weights.bucket import Files, parts_of
from gpu_cli.weights.fetcher import needed
from gpu_cli.weights.hub_cache import HUB_FOLDER, HubLayout, local_hub
from gpu_cli.weights.hub_files import HubFiles
from gpu_cli.weights.meter import GB, Meter
from gpu_cli.weights.source import Scheme, Source
from gpu_providers.base import Bucket, Volume
from gpu_providers.registry import available

MAIN = "main"


@dataclass(frozen=True)
class Wanted:
    """A model of Hugging Face, at a branch, tag or commit."""

    model: str
    revision: str


@dataclass(frozen=True)
class Pushed:
    """What the volume has now."""

    model: str
    commit: str
    files: int
    total_bytes: int
    sent_bytes: int
    """Of those, what was not there before."""


def what_to_push(text: str, revision: str | None, environ: Mapping[str, str]) -> Wanted:
    """`ORG/MODEL`, or what a recipe of this name loads from Hugging Face. Raises UserError."""
    sources, pinned = _places(text, environ)
    model = next((source.location for source in sources if source.scheme is Scheme.HUGGING_FACE), None)
    if model is None:
        hint = "give ORG/MODEL, or a recipe whose weights are there"
        raise UserError(Exit.BAD_INPUT, "not-on-the-hub", f"{text} is not on Hugging Face", hint=hint)
    return Wanted(model, revision or pinned or MAIN)


def push(
    model: str, revision: str, volume: Volume, bucket: Bucket, environ: Mapping[str, str], progress: Progress
) -> Pushed:
    """Everything of the model that an engine loads, in the layout of Hugging Face's cache below `HUB_FOLDER`.

    What is in this machine's cache comes from there, the rest from Hugging Face, piece by piece and through memory.
    Files that are there in their full size stay; unfinished uploads are continued, and those of no use are abandoned.
    A model without config.json or ref is none, and these two come last. Raises UserError.
    """
    progress.stage("list")
    with hugging_face(environ) as hub:
        source = HubFiles.at(hub, model, revision, local_hub(environ))
        names = _in_order(needed(list(source.sizes)))
        _check_fits(model, [source.sizes[name] for name in names], volume)
        files = Files(bucket)
        begun = dict(files.unfinished(f"{HUB_FOLDER}/{source.layout.folder}/"))
        progress.stage("push")
        meter = Meter(sum(source.sizes[name] for name in names), progress.detail)
        for name in names:
            _push_file(files, source, name, begun, meter)
        for key, upload_ids in begun.items():
            for upload_id in upload_ids:
                files.abandon(key, upload_id)
        _write_ref(files, source.layout, revision)
    return Pushed(model, source.layout.commit, len(names), meter.total, meter.sent)


def _places(text: str, environ: Mapping[str, str]) -> tuple[Sequence[Source], str | None]:
    """Where its weights are, and at which revision."""
    if named := model_argument(text, Path.cwd()):
        return (named.source,), None
    recipe = find_recipe(text, Paths.from_environ(environ), Path.cwd(), known_providers=available())
    return recipe.weights, recipe.revision


def _push_file(files: Files, source: HubFiles, name: str, begun: dict[str, Sequence[str]], meter: Meter) -> None:
    """Takes what it uses out of `begun`."""
    key, size = f"{HUB_FOLDER}/{source.layout.file(name)}", source.sizes[name]
    if files.size(key) == size:
        meter.skip(size)
        return
    files.upload(key, size, partial(source.read, name), meter, begun.pop(key, ()))


def _write_ref(files: Files, layout: HubLayout, revision: str) -> None:
    """A commit stands for itself, and needs none."""
    if not COMMIT.fullmatch(revision):
        files.put(f"{HUB_FOLDER}/{layout.ref(revision)}", layout.commit.encode())


def _in_order(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (name == CONFIG, name))


def _check_fits(model: str, sizes: Sequence[int], volume: Volume) -> None:
    """While the parts of a file are put together they are there twice. What grows by itself holds everything."""
    if not volume.size_gb:
        return
    in_parts = [size for size in sizes if len(parts_of(size)) > 1]
    needed_gb = (sum(sizes) + max(in_parts, default=0)) / GB
    if needed_gb > volume.size_gb:
        message = f"{model} takes {needed_gb:.0f} GB, and {volume.name} has {volume.size_gb} GB in all"
        raise UserError(Exit.BAD_INPUT, "does-not-fit", message, hint="make a larger one: gpu volume create")
