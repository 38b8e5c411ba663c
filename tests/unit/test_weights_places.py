"""Hugging Face, ModelScope and S3 as far as the fetcher sees them: their real client libraries, from the real engine's
Python, against a server on loopback that answers as these places do.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from gpu_cli.engine.environment import Engine
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.progress import Silent
from gpu_cli.weights.fetch import fetch
from gpu_cli.weights.kept import Weights
from gpu_cli.weights.source import Source

pytestmark = pytest.mark.engine

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same weights again",
}
LOADED = {"config.json", "tokenizer.json", "model.safetensors"}
COMMIT = "c" * 40


@dataclass
class Place:
    """One server for all three; `refuse` makes it answer every file so."""

    url: str = ""
    gated: bool = False
    asked: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)


class Handler(BaseHTTPRequestHandler):
    """Hugging Face at /api/models/org/model and /org/model/resolve, ModelScope at /api/v1, S3 at /bucket."""

    place: Place

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.place.asked.append(url.path)
        self.place.authorizations.add(self.headers.get("Authorization", ""))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.startswith("/api/v1/models/org/model"):
            self.modelscope(url.path, query)
        elif url.path.startswith("/bucket"):
            self.s3(url.path.removeprefix("/bucket").strip("/"), query)
        elif url.path.startswith(("/api/models/org/model", "/org/model/resolve/")):
            self.hugging_face(url.path)
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def hugging_face(self, path: str) -> None:
        if "/resolve/" in path:
            self.hugging_face_file(path.rsplit("/", 1)[1])
        elif "/tree/" in path:
            entries = [{"type": "file", "path": n, "size": len(b), "oid": digest(b)[:40]} for n, b in FILES.items()]
            self.answer(200, json.dumps(entries).encode())
        else:
            siblings = [{"rfilename": name, "size": len(body)} for name, body in FILES.items()]
            info = {"id": "org/model", "sha": COMMIT, "siblings": siblings, "gated": self.place.gated and "manual"}
            self.answer(200, json.dumps(info).encode())

    def hugging_face_file(self, name: str) -> None:
        if self.place.gated:
            self.answer(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to it is restricted."})
            return
        self.answer(200, FILES[name], {"ETag": f'"{digest(FILES[name])[:40]}"', "X-Repo-Commit": COMMIT})

    def modelscope(self, path: str, query: Mapping[str, str]) -> None:
        if path.endswith("/repo/files"):
            files = [
                {"Path": n, "Name": n, "Size": len(b), "Type": "blob", "Sha256": digest(b)} for n, b in FILES.items()
            ]
            self.answer(200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": files}}).encode())
        elif path.endswith("/repo"):
            self.answer(200, FILES[query["FilePath"]])
        else:
            self.answer(200, b'{"Code": 200, "Success": true, "Data": {}}')

    def s3(self, key: str, query: Mapping[str, str]) -> None:
        if "Signature" not in self.headers.get("Authorization", ""):
            self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        elif key:
            self.answer(200, FILES[key.removeprefix("models/tiny/")], {"ETag": '"e"'})
        else:
            items = "".join(
                f"<Contents><Key>{query['prefix']}{name}</Key><Size>{len(body)}</Size></Contents>"
                for name, body in FILES.items()
                if query["prefix"] == "models/tiny/"
            )
            self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode())

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    handler = type("PlaceHandler", (Handler,), {"place": place})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        place.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield place
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Fetching:
    """`fetch` with caches of the test's own and every place at one address."""

    engine: Engine
    folder: Path

    def __call__(self, source: str, url: str, **environ: str) -> Weights:
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HF_", "MODELSCOPE"))
        }
        return fetch(
            [Source.parse(source)],
            revision=None,
            engine=self.engine,
            cache=self.folder / "cache",
            environ={
                **clean,
                "HOME": str(self.folder),
                "HF_HOME": str(self.folder / "hf"),
                "HF_ENDPOINT": url,
                "MODELSCOPE_CACHE": str(self.folder / "modelscope"),
                "MODELSCOPE_ENDPOINT": url,
                "AWS_ENDPOINT_URL": url,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                **environ,
            },
            progress=Silent(),
        )


@pytest.fixture
def fetching(real_engine: Engine, tmp_path: Path) -> Fetching:
    return Fetching(real_engine, tmp_path)


def contents(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_model_of_the_hub_comes_into_its_own_cache_without_the_second_copy(fetching: Fetching, place: Place) -> None:
    weights = fetching("org/model", place.url, HF_TOKEN="hf_secret")
    assert contents(weights.path) == {name: FILES[name] for name in LOADED}
    assert weights.path.is_relative_to(fetching.folder / "hf")
    assert "Bearer hf_secret" in place.authorizations


def test_a_model_of_the_hub_is_not_asked_for_twice(fetching: Fetching, place: Place) -> None:
    first = fetching("org/model", place.url)
    place.asked.clear()
    assert fetching("org/model", place.url) == first
    assert place.asked == []


def test_a_complete_snapshot_in_the_users_cache_is_enough_when_the_hub_is_not_reached(
    fetching: Fetching, place: Place
) -> None:
    first = fetching("org/model", place.url)
    (fetching.folder / "cache").rename(fetching.folder / "forgotten")
    again = fetching("org/model", "http://127.0.0.1:9")
    assert again.path == first.path
    assert again.note == "the hub was not reached"


def test_an_incomplete_snapshot_in_the_users_cache_is_not(fetching: Fetching, place: Place) -> None:
    weights = fetching("org/model", place.url)
    (weights.path / "model.safetensors").unlink()
    with pytest.raises(UserError) as failed:
        fetching("org/model", "http://127.0.0.1:9")
    assert failed.value.code == "no-weights"


def test_a_gated_model_is_told_with_what_to_do(fetching: Fetching, place: Place) -> None:
    place.gated = True
    with pytest.raises(UserError, match="access was refused") as failed:
        fetching("org/model", place.url)
    assert (failed.value.exit_status, failed.value.code) == (Exit.CREDENTIALS, "gated")
    assert "HF_TOKEN" in failed.value.hint
    assert "https://huggingface.co/org/model" in failed.value.hint


def test_an_unknown_model_is_told_as_not_found(fetching: Fetching, place: Place) -> None:
    with pytest.raises(UserError, match="hf://org/other: not found") as failed:
        fetching("org/other", place.url)
    assert failed.value.code == "no-weights"


@pytest.mark.parametrize("source", ["hf://org/model", "modelscope://org/model", "s3://bucket/models"])
def test_a_place_that_is_not_reached_is_told_as_such(fetching: Fetching, source: str) -> None:
    with pytest.raises(UserError, match="it cannot be reached"):
        fetching(source, "http://127.0.0.1:9", AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="secret")


def test_a_model_of_modelscope_comes_into_its_own_cache(fetching: Fetching, place: Place) -> None:
    weights = fetching("modelscope://org/model", place.url)
    assert {name: contents(weights.path)[name] for name in LOADED} == {name: FILES[name] for name in LOADED}
    assert "pytorch_model.bin" not in contents(weights.path)
    assert weights.path.is_relative_to(fetching.folder / "modelscope")


def test_every_object_below_an_s3_prefix_is_fetched(fetching: Fetching, place: Place) -> None:
    weights = fetching("s3://bucket/models/tiny", place.url, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="secret")
    assert contents(weights.path) == FILES
    assert weights.path.is_relative_to(fetching.folder / "cache" / "weights" / "s3")


def test_an_empty_s3_prefix_is_told_as_not_found(fetching: Fetching, place: Place) -> None:
    with pytest.raises(UserError, match="nothing below that prefix"):
        fetching("s3://bucket/models/none", place.url, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="secret")


def test_s3_without_credentials_is_told_with_what_to_set(fetching: Fetching, place: Place) -> None:
    with pytest.raises(UserError) as failed:
        fetching("s3://bucket/models/tiny", place.url)
    assert failed.value.exit_status is Exit.CREDENTIALS
    assert "AWS_ACCESS_KEY_ID" in failed.value.hint


def test_no_secret_is_in_an_error_or_a_log(fetching: Fetching, place: Place) -> None:
    place.gated = True
    with pytest.raises(UserError) as failed:
        fetching("org/model", place.url, HF_TOKEN="hf_secret")
    logs = [path.read_text() for path in (fetching.folder / "cache").rglob("*.log")]
    assert logs
    assert not any("hf_secret" in text for text in [*logs, failed.value.message, failed.value.hint])
