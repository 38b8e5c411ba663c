"""Logs of instances: asked for with a key, written to a place that needs none, and there a moment later.

What the sources say, and this does (Vast's OpenAPI file; the package vastai 1.9.1, which asks thirty times): the answer
is a URL of Amazon's S3, which refuses it until the file is there. A key that is sent along is refused too, as S3 does
with authorization headers that are not its own.

The official CLI once made the address of key and instance alone (vast-ai/vast-cli, `vast.py`); then what was uploaded
before is there until the new file is. `Last-Modified` tells them apart.
"""

import hashlib
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from ..container_log import CONTAINER, SYSTEM
from ..server import Request, Response, Route, json_response
from .answers import refused
from .instances import Instance

if TYPE_CHECKING:
    from .emulator import VastEmulator

UPLOAD_S = 0.2
"""Real time."""
USUAL_TAIL = 1000
FOLDER = "/s3/vast.ai/instance_logs"
S3_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{0}</Code><Message>{0}</Message></Error>'


@dataclass(frozen=True)
class Upload:
    """One file of a log."""

    text: str
    there_at: float
    """In real time, seconds since 1970."""


class Logs:
    """The routes of logs. Called under the cloud's lock."""

    def __init__(self, cloud: "VastEmulator") -> None:
        self._cloud = cloud
        self._uploads: dict[str, list[Upload]] = defaultdict(list)

    def routes(self) -> list[Route]:
        return [
            Route("PUT", "/api/v0/instances/request_logs/{id}/", self._request, call="logs"),
            Route("GET", f"{FOLDER}/{{name}}", self._download),
        ]

    def _request(self, request: Request) -> Response:
        instance, asked = self._cloud.instances.get(request.params["id"]), request.json() or {}
        if instance is None or instance.gone_at is not None:
            return refused(404, "invalid_id", "Invalid instance id.")
        source = SYSTEM if asked.get("daemon_logs") == "true" else CONTAINER
        lines = [line.line for line in instance.log.lines() if line.source == source] if instance.log else []
        name = self._name(instance)
        self._uploads[name].append(Upload(_tail(lines, asked), time.time() + UPLOAD_S))
        return json_response({"success": True, "result_url": f"{self._cloud.url}{FOLDER}/{name}"})

    def _name(self, instance: Instance) -> str:
        """Of the file that it will be."""
        is_fixed = self._cloud.misbehaviour.take("stale-log", call="logs")
        of_instance = hashlib.sha1(f"{self._cloud.key}{instance.id}".encode()).hexdigest()
        return f"{of_instance if is_fixed else secrets.token_hex(20)}.log"

    def _download(self, request: Request) -> Response:
        if "authorization" in request.headers:
            return _s3_error(400, "InvalidArgument")
        there = [one for one in self._uploads.get(request.params["name"], ()) if one.there_at <= time.time()]
        if not there:
            return _s3_error(403, "AccessDenied")
        headers = {"Content-Type": "binary/octet-stream", "Last-Modified": formatdate(there[-1].there_at, usegmt=True)}
        return Response(200, there[-1].text.encode(), headers)


def _tail(lines: list[str], asked: dict[str, Any]) -> str:
    wanted = [line for line in lines if asked.get("filter", "") in line]
    tail = int(asked.get("tail") or USUAL_TAIL)
    return "".join(f"{line}\n" for line in wanted[-tail:])


def _s3_error(status: int, code: str) -> Response:
    return Response(status, S3_ERROR.format(code).encode(), {"Content-Type": "application/xml"})
