"""What Modal keeps by name: Secrets and Dicts are made, found and deleted in the same way."""

import secrets
from collections.abc import Iterator
from typing import Generic, TypeVar

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .server import not_found

T = TypeVar("T")
CREATING = (api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING, api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)


class Named(Generic[T]):
    """Things of one kind, by id and, where they have one, by name."""

    def __init__(self, kind: str, prefix: str) -> None:
        self._kind = kind
        self._prefix = prefix
        self._things: dict[str, T] = {}
        self._ids: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[str, T]]:
        """Those that have a name, with it."""
        return ((name, self._things[id_]) for name, id_ in self._ids.items())

    def get_or_create(self, name: str, creation_type: int, made: T) -> str:
        """The id of what has that name, or of what is made now. Raises GRPCError."""
        if not name:
            return self._add(made)
        found = self._ids.get(name)
        if found and creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"{self._kind} '{name}' already exists")
        if not found and creation_type not in CREATING:
            raise not_found(f"{self._kind} '{name}'")
        self._ids[name] = found or self._add(made)
        return self._ids[name]

    def get(self, id_: str) -> T:
        """Raises GRPCError."""
        if id_ not in self._things:
            raise not_found(f"{self._kind} '{id_}'")
        return self._things[id_]

    def delete(self, id_: str) -> None:
        """Raises GRPCError."""
        self.get(id_)
        del self._things[id_]
        self._ids = {name: named for name, named in self._ids.items() if named != id_}

    def _add(self, made: T) -> str:
        id_ = f"{self._prefix}-{secrets.token_hex(11)}"
        self._things[id_] = made
        return id_
