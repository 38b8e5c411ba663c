"""Modal's account: who may call, and what every client asks first.

Sources: the installed SDK (client.py, _environments.py); its names of metadata.
"""

import secrets

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .server import Metadata

BUILDER = "2025.06"
"""The version of the image builder that new workspaces are given."""


class Account:
    """One workspace with one token and one environment, `main`."""

    def __init__(self) -> None:
        self.token_id = "ak-emulated5eed5eed"
        self.token_secret = f"as-{secrets.token_hex(8)}"

    def admit(self, metadata: Metadata) -> None:
        """Raises GRPCError, the same one for a missing token and for a wrong one."""
        told = metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret")
        if told != (self.token_id, self.token_secret):
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or does not exist")

    def ClientHello(self, _: Empty) -> api_pb2.ClientHelloResponse:  # noqa: N802
        return api_pb2.ClientHelloResponse(image_builder_version=BUILDER)

    def EnvironmentGetOrCreate(  # noqa: N802
        self, request: api_pb2.EnvironmentGetOrCreateRequest
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name=request.deployment_name or "main", settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-main", metadata=metadata)
