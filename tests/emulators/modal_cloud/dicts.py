"""Modal's Dicts: keys and values are bytes to it, as the client has pickled them (modal/dict.py)."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from .named import Named


class Dicts:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self) -> None:
        self.named: Named[dict[bytes, bytes]] = Named("Dict", "di")

    def DictGetOrCreate(self, request: api_pb2.DictGetOrCreateRequest) -> api_pb2.DictGetOrCreateResponse:  # noqa: N802
        made = {entry.key: entry.value for entry in request.data}
        id_ = self.named.get_or_create(request.deployment_name, request.object_creation_type, made)
        metadata = api_pb2.DictMetadata(name=request.deployment_name)
        return api_pb2.DictGetOrCreateResponse(dict_id=id_, metadata=metadata)

    def DictUpdate(self, request: api_pb2.DictUpdateRequest) -> api_pb2.DictUpdateResponse:  # noqa: N802
        self.named.get(request.dict_id).update({entry.key: entry.value for entry in request.updates})
        return api_pb2.DictUpdateResponse(created=True)

    def DictGet(self, request: api_pb2.DictGetRequest) -> api_pb2.DictGetResponse:  # noqa: N802
        value = self.named.get(request.dict_id).get(request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    def DictDelete(self, request: api_pb2.DictDeleteRequest) -> Empty:  # noqa: N802
        self.named.delete(request.dict_id)
        return Empty()
