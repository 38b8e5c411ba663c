"""Modal's Volumes: each is a folder of this machine, whatever writes there.

Sources: the installed SDK (volume.py). One is found by its name in an environment, and has a version of its file system
that cannot be changed. What containers write is there at once: nothing has to be committed or reloaded. Lists are paged
by the time of this machine, whatever the speed of the cloud: the client asks for "older than now" by its own clock.
"""

import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .account import WORKSPACE, Account
from .named import CREATING
from .server import not_found

V1 = api_pb2.VOLUME_FS_VERSION_V1
UNSAID = api_pb2.VOLUME_FS_VERSION_UNSPECIFIED
ListFiles = api_pb2.VolumeListFilesRequest | api_pb2.VolumeListFiles2Request


@dataclass
class Volume:
    id: str
    name: str
    environment: str
    version: int
    created_at: float
    folder: Path

    @property
    def metadata(self) -> api_pb2.VolumeMetadata:
        creation = api_pb2.CreationInfo(created_at=self.created_at, created_by=WORKSPACE)
        return api_pb2.VolumeMetadata(version=self.version, name=self.name, creation_info=creation)


class Volumes:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self, account: Account, root: Path) -> None:
        self._account = account
        self._root = root
        self._volumes: dict[str, Volume] = {}

    def __iter__(self) -> Iterator[Volume]:
        return iter(self._volumes.values())

    def folder(self, id_: str) -> Path:
        """Where what is on it lies. Raises GRPCError."""
        return self._get(id_).folder

    def VolumeGetOrCreate(self, request: api_pb2.VolumeGetOrCreateRequest) -> api_pb2.VolumeGetOrCreateResponse:  # noqa: N802
        """Raises GRPCError, also when there is one of another version."""
        environment = self._account.environment(request.environment_name)
        found = self._named(request.deployment_name, environment)
        if found and request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Volume '{request.deployment_name}' already exists")
        if found and request.version not in (UNSAID, found.version):
            raise GRPCError(Status.INVALID_ARGUMENT, f"Volume '{found.name}' is of version {found.version}")
        if not found and request.object_creation_type not in CREATING:
            raise not_found(f"Volume '{request.deployment_name}'")
        volume = found or self._make(request.deployment_name, environment, request.version or V1)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=volume.id, version=volume.version, metadata=volume.metadata)

    def VolumeGetById(self, request: api_pb2.VolumeGetByIdRequest) -> api_pb2.VolumeGetByIdResponse:  # noqa: N802
        volume = self._get(request.volume_id)
        return api_pb2.VolumeGetByIdResponse(volume_id=volume.id, metadata=volume.metadata)

    def VolumeList(self, request: api_pb2.VolumeListRequest) -> api_pb2.VolumeListResponse:  # noqa: N802
        """One page: the newest of those that are older than the client says."""
        environment = self._account.environment(request.environment_name)
        before = request.pagination.created_before
        found = [one for one in self if one.environment == environment and (not before or one.created_at < before)]
        page = sorted(found, key=lambda one: -one.created_at)[: request.pagination.max_objects or 100]
        items = [
            api_pb2.VolumeListItem(label=one.name, volume_id=one.id, created_at=one.created_at, metadata=one.metadata)
            for one in page
        ]
        return api_pb2.VolumeListResponse(items=items, environment_name=environment)

    def VolumeDelete(self, request: api_pb2.VolumeDeleteRequest) -> Empty:  # noqa: N802
        """With all that is on it, at once, whatever uses it."""
        volume = self._get(request.volume_id)
        del self._volumes[volume.id]
        shutil.rmtree(volume.folder, ignore_errors=True)
        return Empty()

    async def VolumeListFiles(  # noqa: N802
        self, request: api_pb2.VolumeListFilesRequest
    ) -> AsyncIterator[api_pb2.VolumeListFilesResponse]:
        yield api_pb2.VolumeListFilesResponse(entries=self._entries(request))

    async def VolumeListFiles2(  # noqa: N802
        self, request: api_pb2.VolumeListFiles2Request
    ) -> AsyncIterator[api_pb2.VolumeListFiles2Response]:
        yield api_pb2.VolumeListFiles2Response(entries=self._entries(request))

    def _entries(self, request: ListFiles) -> list[api_pb2.FileEntry]:
        root = self.folder(request.volume_id)
        found = (root / request.path.lstrip("/")).glob("**/*" if request.recursive else "*")
        return [_entry(path, root) for path in sorted(found)]

    def _make(self, name: str, environment: str, version: int) -> Volume:
        id_ = f"vo-{secrets.token_hex(11)}"
        volume = Volume(id_, name, environment, version, time.time(), self._root / id_)
        volume.folder.mkdir(parents=True)
        self._volumes[id_] = volume
        return volume

    def _named(self, name: str, environment: str) -> Volume | None:
        return next((one for one in self if (one.name, one.environment) == (name, environment)), None)

    def _get(self, id_: str) -> Volume:
        if id_ not in self._volumes:
            raise not_found(f"Volume {id_}")
        return self._volumes[id_]


def _entry(path: Path, root: Path) -> api_pb2.FileEntry:
    kind = api_pb2.FileEntry.DIRECTORY if path.is_dir() else api_pb2.FileEntry.FILE
    told = path.stat()
    name = str(path.relative_to(root))
    return api_pb2.FileEntry(path=name, type=kind, mtime=int(told.st_mtime), size=told.st_size)
