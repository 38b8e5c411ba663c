"""The forms of Lambda's answers: `{"data"}`, or `{"error": {code, message, suggestion}}`.

Sources: Lambda's OpenAPI file 1.10.0 (codes, statuses, texts). How too many requests are answered is not documented,
and no `Retry-After` is promised; what is here has the form of the other errors.
"""

from ..server import Response, json_response

CODES = {
    400: "global/invalid-parameters",
    401: "global/invalid-api-key",
    403: "global/forbidden",
    404: "global/not-found",
    409: "global/conflict",
    429: "global/rate-limited",
}
"""Of the errors that come for no reason of a handler's."""
INTERNAL = "global/internal-error"


def data(value: object) -> Response:
    return json_response({"data": value})


def refused(status: int, code: str, message: str, suggestion: str = "") -> Response:
    return json_response({"error": {"code": code, "message": message, "suggestion": suggestion}}, status)


def refused_by_status(status: int, message: str) -> Response:
    return refused(status, CODES.get(status, INTERNAL), message)


def invalid(message: str) -> Response:
    """A body that cannot be."""
    return refused(400, CODES[400], message)


def no_such(what: str, status: int = 404) -> Response:
    """404, but 400 for what a launch names."""
    return refused(status, "global/object-does-not-exist", f"Specified {what} does not exist.", "Check the name.")


def duplicate(what: str) -> Response:
    return refused(400, "global/duplicate", f"{what} already exists.")


def quota_exceeded() -> Response:
    return refused(400, "global/quota-exceeded", "Quota exceeded.", "Contact Support to increase your quota.")
