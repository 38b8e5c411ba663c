"""Hugging Face and ModelScope on loopback, as far as model facts are read from them, with the trouble they can give.

Files are answered as the hub does: from `resolve`, small ones at once and others by a redirect to another host, ranges
honoured; refusals with its own headers.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34
REPO_NOT_FOUND = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    host: str
    path: str
    range: str
    token: str


@dataclass
class Repository:
    """One model, with one commit."""

    files: dict[str, bytes]
    commit: str = COMMIT
    gated: bool = False


@dataclass
class HubEmulator:
    """A hub; tests change it while it runs."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    modelscope: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files of the models there."""
    requests: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Answered to the next requests instead of what they ask for."""
    accepted_token: str = ""
    """When set, any other token is refused."""
    honours_ranges: bool = True
    breaks_off_after: int = 0
    """Bytes of a part of a file, after which the connection ends; 0 for all of them."""
    listing: bytes | None = None
    """Answered whatever model is asked for."""
    silent_s: float = 0.0
    """Before each answer."""
    url: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """An environment that knows this hub and no one's credentials."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": "/nonexistent"}

    @property
    def files_asked(self) -> list[str]:
        """By `resolve`, in order."""
        return [request.path.split("/", 5)[5] for request in self.requests if "/resolve/" in request.path]


class _Handler(BaseHTTPRequestHandler):
    hub: HubEmulator

    def do_GET(self) -> None:
        sent = self.headers
        request = Request(
            sent["Host"].partition(":")[0], self.path, sent.get("Range", ""), sent.get("Authorization", "")
        )
        self.hub.requests.append(request)
        time.sleep(self.hub.silent_s)
        if self.hub.statuses and (status := self.hub.statuses.pop(0)) != 200:
            self.answer(status, b"trouble")
        elif self.hub.accepted_token and request.token != f"Bearer {self.hub.accepted_token}" and request.token:
            self.answer(401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
        elif listed := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/?]+)(\?blobs=true)?", self.path):
            self.listing(listed[1], listed[2], with_sizes=bool(listed[3]))
        elif asked := re.fullmatch(r"/([^/]+/[^/]+)/(resolve|cdn)/([^/]+)/(.+)", self.path):
            self.file(asked[1], asked[2], asked[3], asked[4])
        elif asked := re.fullmatch(r"/models/([^/]+/[^/]+)/resolve/master/(.+)", self.path):
            found = self.hub.modelscope.get(asked[1], {}).get(asked[2])
            self.answer(404) if found is None else self.content(found)
        else:
            self.answer(404)

    def repository(self, model: str, revision: str) -> Repository | None:
        found = self.hub.repositories.get(model)
        if found is None:  # Hugging Face does not tell strangers whether there is a private one
            self.answer(401, headers=REPO_NOT_FOUND)
        elif revision not in ("main", found.commit):
            self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
            return None
        return found

    def listing(self, model: str, revision: str, *, with_sizes: bool) -> None:
        if self.hub.listing is not None:
            self.answer(200, self.hub.listing)
        elif found := self.repository(model, revision):
            sizes = {name: {"size": len(body)} if with_sizes else {} for name, body in found.files.items()}
            siblings = [{"rfilename": name, **size} for name, size in sizes.items()]
            self.answer(200, json.dumps({"id": model, "sha": found.commit, "siblings": siblings}).encode())

    def file(self, model: str, door: str, revision: str, name: str) -> None:
        found = self.repository(model, revision)
        if found is None:
            return
        if found.gated and door == "resolve" and not self.headers.get("Authorization"):
            self.answer(401, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        elif name not in found.files:
            self.answer(404, headers={"X-Error-Code": "EntryNotFound"})
        elif door == "resolve" and name.endswith(".safetensors"):
            port = self.hub.url.rpartition(":")[2]
            self.answer(302, headers={"Location": f"http://localhost:{port}/{model}/cdn/{revision}/{name}"})
        else:
            self.content(found.files[name])

    def content(self, body: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not wanted or not self.hub.honours_ranges:
            self.answer(200, body)
            return
        start = int(wanted[1])
        part = body[start : int(wanted[2]) + 1]
        headers = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(body)}"}
        if not 0 < self.hub.breaks_off_after < len(part):
            self.answer(206, part, headers)
            return
        self.answer(206, part[: self.hub.breaks_off_after], {**headers, "Content-Length": str(len(part))})
        self.close_connection = True

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:  # whoever asked has read enough
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[HubEmulator]:
    """A hub without models."""
    hub = HubEmulator()
    handler = type("HubHandler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
