"""Lambda's OpenAPI file: the operations that are emulated, and what the file lacks."""

from ..openapi import Addition, Specification

_OPERATIONS = (
    *(("instance-types", "get"), ("images", "get"), ("instances", "get"), ("instances/{id}", "get")),
    *(("instance-operations/launch", "post"), ("instance-operations/terminate", "post")),
    *(("ssh-keys", "get"), ("ssh-keys", "post"), ("ssh-keys/{id}", "delete")),
    *(("file-systems", "get"), ("filesystems", "post"), ("filesystems/{id}", "delete")),
    *(("firewall-rulesets", "get"), ("firewall-rulesets", "post"), ("firewall-rulesets/{id}", "get")),
    *(("firewall-rulesets/{id}", "patch"), ("firewall-rulesets/{id}", "delete")),
)
_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": _TEXT, "message": _TEXT, "suggestion": _TEXT},
}
_REFUSED = {
    "description": "refused",
    "content": {
        "application/json": {"schema": {"type": "object", "required": ["error"], "properties": {"error": _ERROR}}}
    },
}


def _refusals(path: str, method: str) -> Addition:
    place = ("paths", f"/api/v1/{path}", method, "responses", "4XX")
    return Addition(place, _REFUSED, "its own limits of rate, without an answer; clients met 429 in production")


LAMBDA = Specification(
    "lambda-openapi.json",
    "https://cloud.lambda.ai",
    [_refusals(path, method) for path, method in _OPERATIONS],
    {f"/api/v1/{path}": f"/api/v1/{path}" for path, _ in _OPERATIONS},
)
