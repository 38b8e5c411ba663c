"""The forms of Vast.ai's refusals: `{"success": false, "error", "msg"}`, and which is whose.

Sources: Vast's OpenAPI file; what clients recorded of the rest (jhammant/AIonDemandCluster#1: a wrong key is a 404;
skypilot-org/skypilot#10517: the dead list; dstackai/dstack#4036: refusals with a contract).
"""

from typing import Any

from ..server import Response, json_response

AUTH_ERROR = "auth_error"
NAMES = {401: AUTH_ERROR, 404: "not_found", 429: "HTTPTooManyRequests"}
"""Of the errors that come for no reason of a handler's."""


def refused(status: int, error: str, msg: str, **more: Any) -> Response:
    return json_response({"success": False, "error": error, "msg": msg, **more}, status)


def invalid(msg: str, error: str = "invalid_args") -> Response:
    """A body that cannot be."""
    return refused(400, error, f"error 400/3467: Invalid args: {msg}")


def no_such_ask(ask_id: int, status: int = 404) -> Response:
    """In the three forms that there are: 400 was only seen in the field."""
    if status == 410:
        msg = f"error 410/3907: no_such_ask Instance type {ask_id} is no longer available."
        return refused(410, "no_such_ask", msg, ask_id=ask_id)
    msg = f"error {status}/3603: no_such_ask Instance type by id {ask_id} is not available."
    return refused(status, "invalid_args", msg, ask_id=ask_id)


def no_such_instance(id: str) -> Response:  # noqa: A002
    return refused(404, "no_such_instance", f"Instance {id} not found")


def deprecated(_: object) -> Response:
    return refused(410, "deprecated_endpoint", "This endpoint is deprecated. Use GET /api/v1/instances/ instead.")
