"""A hub on loopback that has one model: Hugging Face as far as its own client library asks for a download."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34


class _Handler(BaseHTTPRequestHandler):
    """What the model is, what is in its repository, and the files."""

    model: str
    folder: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        file = re.fullmatch(rf"/{self.model}/resolve/({COMMIT}|main)/([\w.-]+)", path)
        if file and (self.folder / file[2]).is_file():
            self.send(self.folder / file[2])
        elif re.fullmatch(rf"/api/models/{self.model}/tree/({COMMIT}|main)", path):
            files = [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in self.sizes()]
            self.answer(files)
        elif re.fullmatch(rf"/api/models/{self.model}(/revision/({COMMIT}|main))?", path):
            siblings = [{"rfilename": name, "size": size} for name, size in self.sizes()]
            self.answer({"id": self.model, "sha": COMMIT, "siblings": siblings})
        else:
            self.send_error(404)

    def sizes(self) -> list[tuple[str, int]]:
        return [(path.name, path.stat().st_size) for path in self.folder.iterdir()]

    def send(self, path: Path) -> None:
        size = path.stat().st_size
        self.begin(size, {"ETag": f'"{path.name}-{size}"', "X-Repo-Commit": COMMIT})
        if self.command != "HEAD":
            with path.open("rb") as file:
                shutil.copyfileobj(file, self.wfile)

    def answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.begin(len(body), {"Content-Type": "application/json"})
        self.wfile.write(body)

    def begin(self, size: int, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(size), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def hub_with(model: str, folder: Path) -> Iterator[str]:
    """Where it listens; the folder's files are the model's."""
    handler = type("HubHandler", (_Handler,), {"model": model, "folder": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
