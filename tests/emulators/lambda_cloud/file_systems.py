"""Lambda's file systems: listed at `/file-systems`, made and deleted at `/filesystems`.

Sources: Lambda's OpenAPI file 1.10.0; docs.lambda.ai, "Filesystems": 0.20 $ per GiB and month for what is stored, used
or not; 24 at most; each in one region. One that an instance has cannot be deleted.
"""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bill import HOURS_PER_MONTH
from ..server import Request, Response, Route
from .answers import data, duplicate, invalid, no_such, quota_exceeded, refused
from .catalogue import REGIONS, region_json

if TYPE_CHECKING:
    from .emulator import LambdaEmulator

NAME = re.compile(r"[a-zA-Z]+[0-9a-zA-Z-]*")
LONGEST_NAME, MOST = 60, 24
USD_PER_GIB_MONTH = 0.20
GIB = 2**30


@dataclass
class FileSystem:
    """One file system; it costs by what is on it until it is deleted."""

    id: str
    name: str
    region: str
    created: str
    bytes_used: int = 0

    @property
    def mount_point(self) -> str:
        return f"/lambda/nfs/{self.name}"

    @property
    def usd_per_hour(self) -> float:
        return self.bytes_used / GIB * USD_PER_GIB_MONTH / HOURS_PER_MONTH

    def as_json(self, is_in_use: bool) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "mount_point": self.mount_point,
            "created": self.created,
            "created_by": {"id": "0" * 32, "email": "someone@example.com", "status": "active"},
            "is_in_use": is_in_use,
            "region": region_json(self.region),
            "bytes_used": self.bytes_used,
        }


class FileSystems:
    """All file systems of the account. Called under the cloud's lock."""

    def __init__(self, cloud: "LambdaEmulator") -> None:
        self._cloud = cloud
        self._file_systems: dict[str, FileSystem] = {}
        self._folders: dict[str, Path] = {}

    def folder(self, id: str) -> Path:  # noqa: A002
        """Where its files are."""
        if id not in self._folders:
            self._folders[id] = self._cloud.containers.new_folder("files")
        return self._folders[id]

    def get(self, id: str) -> FileSystem | None:  # noqa: A002
        return self._file_systems.get(id)

    def named(self, name: str) -> FileSystem | None:
        return next((one for one in self._file_systems.values() if one.name == name), None)

    def fill(self, name: str, gib: float) -> None:
        """So much is stored there from now on."""
        file_system = self.named(name)
        assert file_system, f"there is no file system {name}"
        file_system.bytes_used = int(gib * GIB)
        self._cloud.billing.rate(file_system.id, file_system.usd_per_hour)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/file-systems", self._list, call="volumes"),
            Route("POST", "/api/v1/filesystems", self._create, call="volumes"),
            Route("DELETE", "/api/v1/filesystems/{id}", self._delete, call="volumes"),
        ]

    def _list(self, _: Request) -> Response:
        return data([self._shown(one) for one in self._file_systems.values()])

    def _shown(self, file_system: FileSystem) -> dict[str, Any]:
        return file_system.as_json(self._is_in_use(file_system))

    def _is_in_use(self, file_system: FileSystem) -> bool:
        return any(file_system.id in instance.mount_points for instance in self._cloud.instances)

    def _create(self, request: Request) -> Response:
        body = request.json()
        if not _is_right(body):
            return invalid("Invalid request data: name or region")
        if self.named(body["name"]):
            return duplicate("Filesystem")
        if len(self._file_systems) >= MOST:
            return quota_exceeded()
        made = FileSystem(secrets.token_hex(16), body["name"], body["region"], self._cloud.clock.timestamp())
        self._file_systems[made.id] = made
        self._cloud.billing.start(made.id, made.name, made.usd_per_hour)
        return data(self._shown(made))

    def _delete(self, request: Request) -> Response:
        file_system = self._file_systems.get(request.params["id"])
        if file_system is None:
            return no_such("filesystem")
        if self._is_in_use(file_system):
            return refused(400, "filesystems/filesystem-in-use", "Filesystem is in use.")
        del self._file_systems[file_system.id]
        self._cloud.billing.stop(file_system.id)
        return data({"deleted_ids": [file_system.id]})


def _is_right(body: Any) -> bool:
    name, region = (body.get("name"), body.get("region")) if isinstance(body, dict) else (None, None)
    return isinstance(name, str) and bool(NAME.fullmatch(name)) and len(name) <= LONGEST_NAME and region in REGIONS
