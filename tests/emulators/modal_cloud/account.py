"""Modal's account: who may call, its environments, and what every client asks first.

Sources: the installed SDK (client.py, _environments.py, _workspace.py); its names of metadata.
"""

import secrets
from collections.abc import Mapping, Sequence

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .server import Metadata, not_found

BUILDER = "2025.06"
"""The version of the image builder that new workspaces are given."""
WORKSPACE = "emulated"
DEFAULT = "main"


class Account:
    """One workspace with one token. The first of its environments is the one that is meant where none is named."""

    def __init__(self, environments: Sequence[str] = (DEFAULT,)) -> None:
        self.token_id = "ak-emulated5eed5eed"
        self.token_secret = f"as-{secrets.token_hex(8)}"
        self._ids: Mapping[str, str] = {name: f"en-{name}" for name in environments}

    def admit(self, metadata: Metadata) -> None:
        """Raises GRPCError, the same one for a missing token and for a wrong one."""
        told = metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret")
        if told != (self.token_id, self.token_secret):
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or does not exist")

    def environment(self, name: str) -> str:
        """The name of the one that is meant. Raises GRPCError."""
        if name and name not in self._ids:
            raise not_found(f"Environment '{name}'")
        return name or next(iter(self._ids))

    def environment_of(self, id_: str) -> str:
        """The name of the one with that id. Raises GRPCError."""
        return self.environment(id_.removeprefix("en-"))

    def ClientHello(self, _: Empty) -> api_pb2.ClientHelloResponse:  # noqa: N802
        return api_pb2.ClientHelloResponse(image_builder_version=BUILDER)

    def WorkspaceNameLookup(self, _: Empty) -> api_pb2.WorkspaceNameLookupResponse:  # noqa: N802
        return api_pb2.WorkspaceNameLookupResponse(workspace_name=WORKSPACE, username=WORKSPACE)

    def EnvironmentGetOrCreate(  # noqa: N802
        self, request: api_pb2.EnvironmentGetOrCreateRequest
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        name = self.environment(request.deployment_name)
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name=name, settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id=self._ids[name], metadata=metadata)

    def EnvironmentList(self, _: Empty) -> api_pb2.EnvironmentListResponse:  # noqa: N802
        items = [
            api_pb2.EnvironmentListItem(
                name=name, environment_id=id_, default=name == self.environment(""), image_builder_version=BUILDER
            )
            for name, id_ in self._ids.items()
        ]
        return api_pb2.EnvironmentListResponse(items=items)
