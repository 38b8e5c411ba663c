"""Gets the weights onto a node and becomes the engine. The supervisor of a container starts it as its engine.

One file, standard library only, Python 3.9 or newer, beside `fetch/fetcher.py` and `engine/guard_middleware.py`:

    engine_start.py GPU_COUNT COMMAND [ARGUMENT...]

The command is the engine's. In the place of an argument `{weights}` becomes the folder of the weights, and `{tls}` the
file that holds what GPU_TLS holds: a certificate and its private key, PEM. Only its owner can read that file, and the
engine is told where it is, not what is in it. Where the weights come from is the JSON document in GPU_WEIGHTS:

    sources     [[scheme, location], ...], tried in this order; scheme `path` is a folder of this node
    revision    of a model on a hub; null for its main branch
    folder      takes weights that no hub's cache keeps; what it holds is deleted

Weights that lie in Hugging Face's cache already, from an earlier start or because a volume was filled beforehand, are
used as they are, without asking the hub. Lines of its own begin with `[weights] ` or `[node] `; when there are no
weights the last one is `[weights] failed: KIND: REASONS`, with KIND `gated`, `no-space` or `no-weights`, and the exit
status is 1.

Credentials for weights are in the environment until the weights are there; the engine gets none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional

HERE = Path(__file__).resolve().parent
MB = 10**6
MIB = 2**20

TELL_S = 5.0
"""Between two lines that differ only in how much has arrived."""
STALL_S = 600.0
"""A download that has not moved for so long is given up."""

CREDENTIALS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "AWS_")
"""Beginnings of the names of variables that only the fetcher gets."""
QUIET_FETCHER = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
REASONS = {
    "gated": "access was refused",
    "no-space": "no room on the disk",
    "not-found": "not found",
    "unreachable": "it cannot be reached",
}
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "tekken.json")
SHARDS = "model.safetensors.index.json"

NCCL_SHARED_MEMORY = 1024 * MIB
"""What NVIDIA tells to give a container with several GPUs (NCCL user guide, troubleshooting, Docker: `--shm-size=1g`).
Docker's default is 64 MiB."""


class NoWeights(Exception):
    """There are none, and why; `kind` is one of the fetcher's, or `no-weights` where several places have failed."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def say(text: str) -> None:
    """One line on stdout."""
    print(text, flush=True)


# --- weights ---------------------------------------------------------------------------------------------------------


def get_weights(wanted: Mapping[str, Any], environ: Mapping[str, str]) -> Path:
    """The folder, from the first place that has them. Raises NoWeights that tells of all places."""
    failures = []
    for scheme, location in wanted["sources"]:
        name = location if scheme == "path" else f"{scheme}://{location}"
        try:
            return from_place(scheme, location, name, wanted, environ)
        except NoWeights as failure:
            failures.append((name, failure))
            say(f"[weights] {name}: {failure}")
    kinds = {failure.kind for _, failure in failures}
    kind = next((kind for kind in ("gated", "no-space") if kind in kinds), "no-weights")
    raise NoWeights(kind, "; ".join(f"{name}: {failure}" for name, failure in failures))


def from_place(scheme: str, location: str, name: str, wanted: Mapping[str, Any], environ: Mapping[str, str]) -> Path:
    """The folder. Raises NoWeights."""
    revision = wanted["revision"] if scheme in ("hf", "modelscope") else None
    path, note = there_already(scheme, location, revision, environ), "on the disk already"
    if path is None:
        path, note = fetch([scheme, location, revision or ""], name, Path(wanted["folder"]).absolute(), environ)
    if missing := missing_of(path):
        raise NoWeights("other", f"it is not complete: {missing} is missing")
    say(f"[weights] {name}: {note or 'done'}")
    return path


def there_already(scheme: str, location: str, revision: Optional[str], environ: Mapping[str, str]) -> Optional[Path]:
    """Where they are on this node; None when they have to be fetched, or the rest of them."""
    if scheme == "path":
        return Path(location)
    path = hub_snapshot(location, revision, environ) if scheme == "hf" else None
    return path if path and not missing_of(path) else None


def hub_snapshot(model: str, revision: Optional[str], environ: Mapping[str, str]) -> Optional[Path]:
    """The model's folder in Hugging Face's cache, whole or not: `revision` is a branch or tag that the cache knows, or
    a commit.
    """
    home = environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    cache = Path(environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    repository = cache / f"models--{model.replace('/', '--')}"
    try:
        commit = (repository / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision or ""
    snapshot = repository / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def missing_of(model: Path) -> str:
    """What the folder lacks to be loaded, in words; empty when nothing."""
    if not (model / "config.json").is_file():
        return "config.json"
    if not any((model / name).is_file() for name in TOKENIZERS):
        return "a tokenizer"
    if (model / SHARDS).is_file():
        shards = json.loads((model / SHARDS).read_text(encoding="utf-8")).get("weight_map", {}).values()
        return next((shard for shard in sorted(set(shards)) if not (model / shard).is_file()), "")
    return "" if any(any(model.glob(pattern)) for pattern in ("*.safetensors", "*.bin", "*.pt")) else "weights"


def fetch(place: Sequence[str], name: str, folder: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    """Where the fetcher put them, and what is special about them. Raises NoWeights.

    The fetcher stays in this process's group, so that whoever ends the group ends the download. What its libraries say
    goes to a file: the node's log is searched for the cause of its death, and one place that failed is none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, str(HERE / "fetch" / "fetcher.py"), *place, str(folder)]
    environ = {**environ, **QUIET_FETCHER, "TMPDIR": str(folder)}
    with (
        (HERE / "fetch.log").open("ab") as log,
        subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as fetcher,
    ):
        try:
            return outcome(told(fetcher.stdout or (), name))
        finally:
            fetcher.kill()


def outcome(events: Iterable[Mapping[str, Any]]) -> tuple[Path, str]:
    """What it came to. Raises NoWeights."""
    for event in events:
        if event["event"] == "done":
            return Path(event["path"]), event["note"]
        if event["event"] == "failed":
            raise refusal(event["kind"], event["message"])
    raise NoWeights("other", "the fetcher ended without a word")


def refusal(kind: str, message: str) -> NoWeights:
    """In words that begin with what it means."""
    return NoWeights(kind, f"{REASONS[kind]} ({message})" if kind in REASONS else message)


def told(lines: Iterable[bytes], name: str) -> Iterator[dict[str, Any]]:
    """What the fetcher says, with its progress shown at a bounded rate. Raises NoWeights when nothing moves."""
    last, since, shown, shown_s = b"", time.monotonic(), "", -TELL_S
    for line in lines:
        event, now_s = json.loads(line), time.monotonic()
        if line != last:
            last, since = line, now_s
        if now_s - since > STALL_S:
            raise refusal("unreachable", f"no progress for {STALL_S:.0f} s")
        if event["event"] == "progress" and (event["text"] != shown or now_s - shown_s >= TELL_S):
            shown, shown_s = event["text"], now_s
            say(f"[weights] {name}: {in_words(event)}")
        yield event


def in_words(progress: Mapping[str, Any]) -> str:
    """`downloading 1234 of 70000 MB`, as far as the numbers are known."""
    text, done, total = progress["text"], progress["bytes"] / MB, progress["total"] / MB
    if not total:
        return f"{text} {done:.0f} MB" if done else str(text)
    return f"{text} {done:.0f} of {total:.0f} MB"


# --- the engine ------------------------------------------------------------------------------------------------------


def keep_private(text: str, path: Path) -> Path:
    """The file, which only its owner can read. One that holds the text already, from before a restart, is not written
    again: the disk may have filled up since. Raises OSError.
    """
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    return path


def engine_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What the engine gets: no credentials, no hub, and our middleware on its path."""
    dropped = ("GPU_WEIGHTS", *CREDENTIALS)
    kept = {name: value for name, value in environ.items() if not name.startswith(dropped)}
    path = os.pathsep.join(filter(None, (str(HERE / "engine"), environ.get("PYTHONPATH"))))
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}


def container_limits(gpu_count: int, shared_memory: Optional[int]) -> dict[str, str]:
    """Variables that let several GPUs work in this container.

    Where they cannot reach each other directly, NCCL copies through shared memory, and does not start when that is too
    small; without it NCCL goes through sockets (NCCL user guide, NCCL_SHM_DISABLE). Nothing else is needed on one node:
    vLLM's workers meet at 127.0.0.1 and talk through shared memory and Unix sockets. vLLM 0.32 itself wants 240 MiB of
    shared memory for several GPUs (`WorkerProc.worker_response_mq`: 10 chunks of 24 MiB) and no variable changes that:
    it refuses to start, in words that name both sizes (`check_shm_free_space`).
    """
    if gpu_count < 2 or shared_memory is None or shared_memory >= NCCL_SHARED_MEMORY:
        return {}
    say(f"[node] /dev/shm has {shared_memory // MIB} MiB free, too little for NCCL: NCCL_SHM_DISABLE=1")
    return {"NCCL_SHM_DISABLE": "1"}


def free_shared_memory() -> Optional[int]:
    """Bytes; None where there is no such thing."""
    try:
        found = os.statvfs("/dev/shm")  # noqa: S108 - the place of shared memory, not a file of ours
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Becomes the engine, or ends with status 1 when there are no weights."""
    gpu_count, command, environ = int(arguments[0]), arguments[1:], dict(environ)
    known = {}
    if certificate_and_key := environ.pop("GPU_TLS", ""):
        known["{tls}"] = str(keep_private(certificate_and_key, HERE / "tls.pem"))
    try:
        known["{weights}"] = str(get_weights(json.loads(environ["GPU_WEIGHTS"]), environ))
    except NoWeights as failure:
        say(f"[weights] failed: {failure.kind}: {failure}")
        sys.exit(1)
    environ = {**container_limits(gpu_count, free_shared_memory()), **engine_environ(environ)}
    command = [known.get(argument, argument) for argument in command]
    say("[node] starting the engine")
    # `python -m` looks for modules in the working folder first, and ours must not hide those of the engine.
    os.chdir(HERE / "engine")
    os.execvpe(command[0], command, environ)  # noqa: S606 - the arguments are words already


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
