"""The files that are mounted in containers.

Source: the installed SDK (mount.py). They are uploaded once, by the hash of what is in them; the client's own package
is a mount that Modal has made.
"""

import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from modal_proto import api_pb2

from .server import not_found


class Files:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self) -> None:
        self._uploaded: dict[str, bytes] = {}
        self._mounts: dict[str, list[api_pb2.MountFile]] = {}

    def put(self, mount_ids: Iterable[str], folder: Path) -> None:
        """All files of these mounts, with `folder` for the root of the container."""
        for file in (file for id_ in mount_ids for file in self._mounts[id_]):
            path = folder / file.filename.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._uploaded[file.sha256_hex])

    def sources(self) -> Iterator[bytes]:
        """Everything that was ever uploaded."""
        return iter(self._uploaded.values())

    def MountBatchedCheckExistence(  # noqa: N802
        self, request: api_pb2.MountBatchedCheckExistenceRequest
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = [hash_ for hash_ in request.sha256_hex_hashes if hash_ not in self._uploaded]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    def MountPutFile(self, request: api_pb2.MountPutFileRequest) -> api_pb2.MountPutFileResponse:  # noqa: N802
        self._uploaded[request.sha256_hex] = request.data
        return api_pb2.MountPutFileResponse(exists=True)

    def MountGetOrCreate(self, request: api_pb2.MountGetOrCreateRequest) -> api_pb2.MountGetOrCreateResponse:  # noqa: N802
        for file in request.files:
            if file.sha256_hex not in self._uploaded:
                raise not_found(f"the content of {file.filename}")
        id_ = f"mo-{secrets.token_hex(11)}"
        self._mounts[id_] = list(request.files)
        return api_pb2.MountGetOrCreateResponse(mount_id=id_, handle_metadata=api_pb2.MountHandleMetadata())
