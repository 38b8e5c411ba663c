"""Volumes behind an S3 API: moto's S3 with what RunPod's lacks taken away (https://docs.runpod.io/storage/s3-api).

Refused are other people's keys, bodies of more than 500 MB, DeleteObjects, buckets made over S3, and whatever else is
not in RunPod's tables. Parts have no least size there.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ..server import Request, Reset, Response

MOST_BYTES = 500_000_000
ACCESS_KEY_ID = "user_emulated"
SECRET_ACCESS_KEY = "rps_emulated"

_OPERATIONS = {
    "ListObjects": ("GET", False, set()),
    "HeadBucket": ("HEAD", False, set()),
    "ListMultipartUploads": ("GET", False, {"uploads"}),
    "GetObject": ("GET", True, set()),
    "HeadObject": ("HEAD", True, set()),
    "PutObject": ("PUT", True, set()),
    "DeleteObject": ("DELETE", True, set()),
    "CreateMultipartUpload": ("POST", True, {"uploads"}),
    "UploadPart": ("PUT", True, {"uploadId", "partNumber"}),
    "CompleteMultipartUpload": ("POST", True, {"uploadId"}),
    "AbortMultipartUpload": ("DELETE", True, {"uploadId"}),
    "ListParts": ("GET", True, {"uploadId"}),
}
"""What there is: its method, whether it is about an object, and the parameters that make it this one."""
_TELLING = {
    *("uploads", "uploadId", "partNumber", "delete", "tagging", "acl", "versioning", "location", "policy"),
    *("encryption", "object-lock", "restore", "X-Amz-Signature"),
}


@dataclass(frozen=True)
class Call:
    """One request by S3's name for it; `-` for what there is not."""

    operation: str
    bucket: str
    key: str
    part: int | None = None


def no_fault(_: Call) -> str:
    """All goes well."""
    return ""


class S3:
    """A bucket for every volume."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.fault: Callable[[Call], str] = no_fault
        """What goes wrong with a call: a status such as `502`, or one with a code such as `403 AccessDenied`; `lost`
        (it works, and no answer comes); or nothing.
        """
        self._buckets: set[str] = set()
        self._moto: Any = None

    def make_bucket(self, name: str) -> None:
        self._buckets.add(name)
        _moto_s3().create_bucket(name, "us-east-1")

    def delete_bucket(self, name: str) -> None:
        """With all that it holds."""
        self._buckets.discard(name)
        for holds in ("keys", "multiparts"):
            getattr(_moto_s3().buckets[name], holds).clear()
        _moto_s3().delete_bucket(name)

    def close(self) -> None:
        """Moto's buckets are the process's."""
        for bucket in list(self._buckets):
            self.delete_bucket(bucket)

    def files(self, bucket: str) -> dict[str, bytes]:
        """What the volume holds."""
        return {key: kept.value for key, kept in _moto_s3().buckets[bucket].keys.items()}

    def uploads(self, bucket: str) -> list[str]:
        """Keys of the uploads that were begun and not ended."""
        return [upload.key_name for upload in _moto_s3().buckets[bucket].multiparts.values()]

    def answer(self, request: Request, path: str) -> Response:
        """To a request for `/BUCKET/KEY`."""
        call = _call(request, path)
        self.calls.append(call)
        if refusal := self._refusal(request, call):
            return refusal
        fault, _, code = self.fault(call).partition(" ")
        if fault.isdecimal():
            return _error(int(fault), code or "AsTold")
        response = self._ask_moto(request, path)
        if fault == "lost":
            raise Reset
        return response

    def _refusal(self, request: Request, call: Call) -> Response | None:
        if f"Credential={ACCESS_KEY_ID}/" not in request.headers.get("authorization", ""):
            return _error(403, "InvalidAccessKeyId")
        if call.bucket not in self._buckets:
            return _error(404, "NoSuchBucket")
        if call.operation == "-":
            return _error(501, "NotImplemented")
        return _error(400, "EntityTooLarge") if len(request.body) > MOST_BYTES else None

    def _ask_moto(self, request: Request, path: str) -> Response:
        answered: list[Any] = []
        parts = self._wsgi(_environ(request, path), lambda status, headers, *_: answered.extend((status, headers)))
        headers = {name.title(): value for name, value in answered[1] if name.lower() not in _OF_ONE_CONNECTION}
        return Response(int(answered[0].split()[0]), b"".join(parts), headers)

    def _wsgi(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Any:
        if self._moto is None:
            import moto.s3.models
            from moto.server import DomainDispatcherApplication, create_backend_app

            moto.s3.models.S3_UPLOAD_PART_MIN_SIZE = 0
            self._moto = DomainDispatcherApplication(create_backend_app)
        return self._moto(environ, start_response)


_OF_ONE_CONNECTION = ("connection", "date", "server", "transfer-encoding")


def _call(request: Request, path: str) -> Call:
    found = re.fullmatch(r"/([^/]*)/?(.*)", unquote(path), re.DOTALL)
    assert found
    asked = (request.method, bool(found[2]), _TELLING & request.query.keys())
    operation = next((name for name, known in _OPERATIONS.items() if known == asked), "-")
    part = request.query.get("partNumber")
    return Call(operation, found[1], found[2], int(part) if part else None)


def _environ(request: Request, path: str) -> dict[str, Any]:
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    return {
        **headers,
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path),
        "RAW_URI": path,
        "QUERY_STRING": request.raw_query,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _error(status: int, code: str) -> Response:
    body = f"<Error><Code>{code}</Code><Message>{code}, says the emulator</Message></Error>"
    return Response(status, body.encode(), {"Content-Type": "application/xml"})


def _moto_s3() -> Any:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
