"""Modal's Secrets: variables of containers. What is in them is never answered, only which names they have."""

from collections.abc import Iterable

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from .named import Named


class SecretStore:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self) -> None:
        self.named: Named[dict[str, str]] = Named("Secret", "st")

    def environment(self, ids: Iterable[str]) -> dict[str, str]:
        """Of a container that has these: a later one wins."""
        return {name: value for id_ in ids for name, value in self.named.get(id_).items()}

    def SecretGetOrCreate(self, request: api_pb2.SecretGetOrCreateRequest) -> api_pb2.SecretGetOrCreateResponse:  # noqa: N802
        made = dict(request.env_dict)
        id_ = self.named.get_or_create(request.deployment_name, request.object_creation_type, made)
        metadata = api_pb2.SecretMetadata(name=request.deployment_name, keys=list(self.named.get(id_)))
        return api_pb2.SecretGetOrCreateResponse(secret_id=id_, metadata=metadata)

    def SecretUpdate(self, request: api_pb2.SecretUpdateRequest) -> Empty:  # noqa: N802
        """Containers that run keep what they were started with."""
        self.named.get(request.secret_id).update({update.key: update.value for update in request.updates})
        return Empty()

    def SecretDelete(self, request: api_pb2.SecretDeleteRequest) -> Empty:  # noqa: N802
        self.named.delete(request.secret_id)
        return Empty()
