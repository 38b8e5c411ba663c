"""Vast.ai's OpenAPI file: the paths that are emulated, as they are really spelled, and where the file is wrong."""

from typing import Any

from ..openapi import Addition, Specification
from .bodies import RUNTYPES

BUNDLES, ASK, USER = "/api/v0/bundles", "/api/v0/asks/{id}", "/api/v0/users/current"
INSTANCE, INSTANCES, LOGS = "/api/v0/instances/{id}", "/api/v1/instances", "/api/v0/instances/request_logs/{id}"

_CLI = "the package vastai 1.9.1: trailing slashes everywhere but for /users/current; type on-demand; owner=me"
_OBJECT = "vast-ai/docs, `Creating instances with the API`; skypilot-org/skypilot#9486: env is an object"
_RECORDED = "recorded answers"
_OPERATIONS = (
    *((BUNDLES, "post"), (ASK, "put"), (USER, "get"), (INSTANCES, "get"), (LOGS, "put")),
    *((INSTANCE, method) for method in ("get", "put", "delete")),
)


def _error(path: str, method: str) -> Addition:
    content = {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}}
    place = ("paths", path, method, "responses", "default")
    return Addition(place, {"description": "refused", "content": content}, "recordings have more than the file")


def _instance(name: str, schema: dict[str, Any]) -> Addition:
    return Addition(("components", "schemas", "Instance", "properties", name), schema, _RECORDED)


def _row(name: str, schema: dict[str, Any]) -> Addition:
    rows = ("paths", INSTANCES, "get", "responses", "200", "content", "application/json", "schema", "properties")
    return Addition((*rows, "instances", "items", "properties", name), schema, _RECORDED)


def _body(path: str, method: str, *place: str) -> tuple[str, ...]:
    return ("paths", path, method, "requestBody", "content", "application/json", "schema", "properties", *place)


_OWNER = {"name": "owner", "in": "query", "schema": {"type": "string"}}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_PAIRS = {"type": "array", "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}}
_BOUND = {"type": "object", "required": ["HostIp", "HostPort"], "properties": {"HostPort": {"type": "string"}}}
_PORTS = {"type": ["object", "null"], "additionalProperties": {"type": "array", "items": _BOUND}}
_ORDER = {"type": "array", "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}}
_SHOWN = ("paths", INSTANCE, "get", "responses", "200", "content", "application/json", "schema", "properties")
VAST = Specification(
    "vast-openapi.yaml",
    "https://console.vast.ai",
    (
        *(_error(path, method) for path, method in _OPERATIONS),
        Addition(("paths", BUNDLES, "post", "security"), [{}], "dstackai/gpuhunt searches without a key"),
        Addition(_body(BUNDLES, "post", "order"), _ORDER, "its own words: each entry is a pair"),
        Addition(_body(BUNDLES, "post", "type", "enum"), ["on-demand"], _CLI),
        Addition(_body(ASK, "put", "env"), {"type": "object", "additionalProperties": {"type": "string"}}, _OBJECT),
        Addition(_body(ASK, "put", "runtype", "enum"), list(RUNTYPES), _CLI),
        Addition(
            ("paths", ASK, "put", "responses", "400", "content", "application/json", "schema", "properties", "error"),
            {"type": "string"},
            "clients that match no_such_ask, insufficient_credit and spend_rate_limit in answers with 400",
        ),
        Addition(
            (*_SHOWN, "instances"),
            {"anyOf": [{"$ref": "#/components/schemas/Instance"}, {"type": "null"}]},
            "what is gone is null: recorded",
        ),
        Addition(("paths", INSTANCE, "get", "parameters"), [_OWNER], _CLI),
        _instance("extra_env", _PAIRS),
        _instance("ports", _PORTS),
        *(_instance(name, _NUMBER_OR_NULL) for name in ("cuda_max_good", "cpu_cores", "cpu_cores_effective")),
        *(_row(name, _NUMBER_OR_NULL) for name in ("cpu_cores", "cpu_cores_effective", "cuda_max_good")),
        *(_row(name, {"type": ["string", "null"]}) for name in ("onstart", "geolocation")),
    ),
    {path: path if path == USER else f"{path}/" for path in (BUNDLES, ASK, USER, INSTANCE, INSTANCES, LOGS)},
)
