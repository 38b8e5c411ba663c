"""Gets the weights of a model onto this machine, from the first of several places that has them."""

import errno
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from gpu_cli.engine.environment import Engine
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.locks import exclusive
from gpu_cli.ui.progress import Progress
from gpu_cli.weights.fetch_process import Failure, Fetched, run_fetcher
from gpu_cli.weights.kept import Kept, Weights, local_weights, missing_of
from gpu_cli.weights.source import Scheme, Source

WAIT_FOR_OTHER_S = 6 * 3600.0
"""How long one process waits for another that fetches the same weights; the largest take hours."""

_HUBS = (Scheme.HUGGING_FACE, Scheme.MODELSCOPE)


def fetch(
    sources: Sequence[Source],
    *,
    revision: str | None,
    engine: Engine,
    cache: Path,
    environ: Mapping[str, str],
    progress: Progress,
) -> Weights:
    """A folder with the weights.

    What is on this machine already is used before anything is downloaded, and is not compared with its origin again:
    pin a `revision` to choose another. Then the places are tried in their order. `revision` concerns hubs only.

    The stage of `progress` is the caller's. Raises UserError naming every place and why it had nothing, with
    `Exit.CREDENTIALS` when one of them refused us.
    """
    fetching = _Fetching(revision, engine, cache / "weights", environ, progress)
    if weights := fetching.first_kept(sources):
        return weights
    failures = []
    for source in sources:
        outcome = fetching.fetch_one(source)
        if isinstance(outcome, Weights):
            return outcome
        progress.note(f"{source}: {outcome}")
        failures.append((source, outcome))
    raise _no_weights(failures)


@dataclass(frozen=True)
class _Fetching:
    revision: str | None
    engine: Engine
    folder: Path
    environ: Mapping[str, str]
    progress: Progress

    @property
    def kept(self) -> Kept:
        return Kept(self.folder / "index")

    def first_kept(self, sources: Sequence[Source]) -> Weights | None:
        found = (local_weights(source) or self.kept.find(source, self._revision_at(source)) for source in sources)
        weights = next((weights for weights in found if weights), None)
        if weights is None or weights.source == sources[0]:
            return weights
        return replace(weights, note=f"{weights.note or weights.source} (already here; {sources[0]} was not asked)")

    def fetch_one(self, source: Source) -> Weights | Failure:
        if source.scheme is Scheme.PATH:
            return Failure("not-found", "no such folder, or no config.json in it")
        entry = self.kept.entry(source, self._revision_at(source))
        try:
            with exclusive(
                entry.with_suffix(".lock"),
                deadline_s=WAIT_FOR_OTHER_S,
                waiting=lambda: self.progress.detail(f"waiting for another process that fetches {source}"),
            ) as descriptor:
                return self.kept.find(source, self._revision_at(source)) or self._download(
                    source, entry.with_suffix(".log"), descriptor
                )
        except TimeoutError:
            return Failure("other", "another process has been fetching it for hours")
        except OSError as error:
            return Failure("no-space" if error.errno == errno.ENOSPC else "other", str(error))

    def _download(self, source: Source, log: Path, lock_descriptor: int) -> Weights | Failure:
        place = self.folder / source.scheme / quote(source.location, safe="=")
        partial = place.with_name(f"{log.stem}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            outcome = run_fetcher(
                (source.scheme, source.location, self._revision_at(source) or "", str(partial)),
                python=self.engine.python,
                environ=self.environ,
                scratch=partial,
                log=log,
                lock_descriptor=lock_descriptor,
                tell=lambda text: self.progress.detail(f"{source}: {text}"),
            )
            return outcome if isinstance(outcome, Failure) else self._settle(source, outcome, partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _settle(self, source: Source, fetched: Fetched, partial: Path, place: Path) -> Weights | Failure:
        """Move what is ours to its place, and remember it."""
        if missing := missing_of(fetched.path):
            return Failure("other", f"it is not complete: {missing} is missing{fetched.note and f' ({fetched.note})'}")
        path = fetched.path
        if path.is_relative_to(partial):
            shutil.rmtree(place, ignore_errors=True)
            path = path.rename(place)
        weights = Weights(path, source, fetched.note)
        self.kept.keep(weights, self._revision_at(source))
        return weights

    def _revision_at(self, source: Source) -> str | None:
        return self.revision if source.scheme in _HUBS else None


def _no_weights(failures: Sequence[tuple[Source, Failure]]) -> UserError:
    reasons = "; ".join(f"{source}: {failure}" for source, failure in failures)
    refused = next((source for source, failure in failures if failure.kind == "gated"), None)
    if refused is None:
        hint = "see the reasons; a recipe's weights may name several places, and a path on this machine is one"
        return UserError(Exit.LAUNCH_FAILED, "no-weights", f"no weights: {reasons}", hint=hint)
    return UserError(Exit.CREDENTIALS, "gated", f"no weights: {reasons}", hint=_how_to_be_let_in(refused))


def _how_to_be_let_in(source: Source) -> str:
    if source.scheme is Scheme.HUGGING_FACE:
        return f"set HF_TOKEN, and accept the licence at https://huggingface.co/{source.location}"
    if source.scheme is Scheme.S3:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) to ones that may read it"
    return f"set the credentials of {source.scheme}://"
