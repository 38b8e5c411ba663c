"""Vast.ai's OpenAPI file: the paths that are emulated, as they are really spelled, and where the file is wrong."""

from ..openapi import Addition, Specification
from .bodies import RUNTYPES
from .row_schema import ROW

BUNDLES, ASK, USER = "/api/v0/bundles", "/api/v0/asks/{id}", "/api/v0/users/current"
INSTANCE, INSTANCES, LOGS = "/api/v0/instances/{id}", "/api/v1/instances", "/api/v0/instances/request_logs/{id}"

_CLI = "the package vastai 1.9.1: trailing slashes everywhere but for /users/current; type on-demand; owner=me"
_OBJECT = "vast-ai/docs, `Creating instances with the API`; skypilot-org/skypilot#9486: env is an object"
_RECORDED = "recorded answers"
_OPERATIONS = (
    *((BUNDLES, "post"), (ASK, "put"), (USER, "get"), (INSTANCES, "get"), (LOGS, "put")),
    *((INSTANCE, method) for method in ("get", "put", "delete")),
)


def _refusals(path: str, method: str) -> Addition:
    """The file has some statuses of each operation, and others were seen: every key may be refused with 404."""
    schema = {"type": "object", "required": ["error", "msg"], "properties": dict.fromkeys(("error", "msg"), _TEXT)}
    response = {"description": "refused", "content": {"application/json": {"schema": schema}}}
    return Addition(("paths", path, method, "responses", "4XX"), response, _RECORDED)


def _answered(path: str, method: str, *place: str, status: str = "200") -> tuple[str, ...]:
    content = ("responses", status, "content", "application/json")
    return ("paths", path, method, *content, "schema", "properties", *place)


def _sent(path: str, method: str, *place: str) -> tuple[str, ...]:
    return ("paths", path, method, "requestBody", "content", "application/json", "schema", "properties", *place)


def _instance(*place: str) -> tuple[str, ...]:
    return ("components", "schemas", "Instance", "properties", *place)


_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_OWNER = {"name": "owner", "in": "query", "schema": _TEXT}
_PAIRS = {"type": "array", "items": {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2}}
_BOUND = {"type": "object", "required": ["HostIp", "HostPort"], "properties": {"HostIp": _TEXT, "HostPort": _TEXT}}
_PORTS = {"type": ["object", "null"], "additionalProperties": {"type": "array", "items": _BOUND}}
_SHOWN = {"anyOf": [{"$ref": "#/components/schemas/Instance"}, {"type": "null"}]}
VAST = Specification(
    "vast-openapi.yaml",
    "https://console.vast.ai",
    (
        *(_refusals(path, method) for path, method in _OPERATIONS),
        Addition(("paths", BUNDLES, "post", "security"), [{}], "dstackai/gpuhunt searches without a key"),
        Addition(_sent(BUNDLES, "post", "order"), _PAIRS, "its own words: each entry is a pair"),
        Addition(_sent(BUNDLES, "post", "type", "enum"), ["on-demand"], _CLI),
        Addition(_answered(BUNDLES, "post", "offers", "prefixItems"), [ROW], "its own example; see row_schema"),
        Addition(_sent(ASK, "put", "env"), {"type": "object", "additionalProperties": _TEXT}, _OBJECT),
        Addition(_sent(ASK, "put", "runtype", "enum"), list(RUNTYPES), _CLI),
        Addition(_answered(ASK, "put", "instance_api_key"), _TEXT, _RECORDED),
        Addition(
            _answered(ASK, "put", "error", status="400"),
            _TEXT,
            "clients that match no_such_ask, insufficient_credit and spend_rate_limit in answers with 400",
        ),
        Addition(_answered(INSTANCE, "get", "instances"), _SHOWN, "what is gone is null: recorded"),
        Addition(("paths", INSTANCE, "get", "parameters"), [_OWNER], _CLI),
        Addition(_instance("extra_env"), _PAIRS, _RECORDED),
        Addition(_instance("ports"), _PORTS, _RECORDED),
        Addition(_answered(USER, "get", "credit"), _NUMBER, "vast-ai/docs, `Authentication`"),
    ),
    {path: path if path == USER else f"{path}/" for path in (BUNDLES, ASK, USER, INSTANCE, INSTANCES, LOGS)},
)
