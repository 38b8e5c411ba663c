"""Logs of instances: asked for with a key, written to a place that needs none, and there a moment later.

What the sources say, and this does (Vast's OpenAPI file; the package vastai 1.9.1, which asks thirty times): the answer
is a URL of Amazon's S3, which refuses it until the file is there. A key that is sent along is refused too, as S3 does
with authorization headers that are not its own.
"""

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..container_log import CONTAINER, SYSTEM
from ..server import Request, Response, Route, json_response
from .answers import refused

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
    """On the monotonic clock of this machine."""


class Logs:
    """The routes of logs. Called under the cloud's lock."""

    def __init__(self, cloud: "VastEmulator") -> None:
        self._cloud = cloud
        self._uploads: dict[str, Upload] = {}

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
        name = f"{secrets.token_hex(20)}.log"
        self._uploads[name] = Upload(_tail(lines, asked), time.monotonic() + UPLOAD_S)
        return json_response({"success": True, "result_url": f"{self._cloud.url}{FOLDER}/{name}"})

    def _download(self, request: Request) -> Response:
        upload = self._uploads.get(request.params["name"])
        if "authorization" in request.headers:
            return _s3_error(400, "InvalidArgument")
        if upload is None or time.monotonic() < upload.there_at:
            return _s3_error(403, "AccessDenied")
        return Response(200, upload.text.encode(), {"Content-Type": "binary/octet-stream"})


def _tail(lines: list[str], asked: dict[str, Any]) -> str:
    wanted = [line for line in lines if asked.get("filter", "") in line]
    tail = int(asked.get("tail") or USUAL_TAIL)
    return "".join(f"{line}\n" for line in wanted[-tail:])


def _s3_error(status: int, code: str) -> Response:
    return Response(status, S3_ERROR.format(code).encode(), {"Content-Type": "application/xml"})
