"""The routes of Vast.ai's instances, all but their making.

What the sources say, and this does: the list of API v0 is dead (skypilot-org/skypilot#10517); API v1 shows 25 at most,
in pages behind tokens (Vast's OpenAPI file); what is gone or another's is `{"instances": null}` and no error; ending it
again is a 404 no_such_instance (recordings).
"""

import base64
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..misbehaviour import Rule
from ..server import Request, Response, Route, json_response
from .answers import deprecated, invalid, no_such_instance, refused
from .instance_json import FILTERABLE, as_json
from .instances import RUNNING, STOPPED, Instance
from .queries import BadQuery, Row, checked, matches, ordered

if TYPE_CHECKING:
    from .emulator import VastEmulator

MOST_ROWS = 25
ROWS_OF_NONSENSE = 5
"""When `limit` is not above zero."""


class InstanceRoutes:
    """`/instances`. Called under the cloud's lock."""

    def __init__(self, cloud: "VastEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v0/instances/", deprecated, call="list"),
            Route("GET", "/api/v1/instances/", self._list, call="list"),
            Route("GET", "/api/v0/instances/{id}/", self._get, call="get"),
            Route("PUT", "/api/v0/instances/{id}/", self._manage, call="update"),
            Route("DELETE", "/api/v0/instances/{id}/", self._destroy, call="delete"),
        ]

    def _get(self, request: Request) -> Response:
        instance = self._cloud.instances.get(request.params["id"])
        return json_response({"instances": self._shown(instance) if instance else None})

    def _shown(self, instance: Instance) -> dict[str, Any]:
        return as_json(instance, self._cloud.clock.now())

    # Lists

    def _list(self, request: Request) -> Response:
        try:
            return json_response(self._page(request))
        except BadQuery as error:
            return refused(400, "invalid_request", f"Error in query parameters: {error}")
        except ValueError:
            return refused(400, "invalid_token", "Invalid after_token")

    def _page(self, request: Request) -> dict[str, Any]:
        filters = checked(_parsed(request, "select_filters", {}), FILTERABLE)
        found = [row for row in self._rows() if matches(row, filters)]
        order = [[item["col"], item.get("dir", "asc")] for item in _parsed(request, "order_by", [])]
        rows = ordered(found, [*order, ["id", "asc"]], found[0]) if found else []
        start, limit = _offset(request.query.get("after_token")), _parsed(request, "limit", MOST_ROWS)
        end = start + (min(limit, MOST_ROWS) if limit > 0 else ROWS_OF_NONSENSE)
        shown = rows[start:end]
        return {
            "success": True,
            "instances_found": len(shown),
            "total_instances": len(rows),
            "label_counts": Counter(row["label"] or "" for row in rows),
            "next_token": _token(end) if end < len(rows) else None,
            "instances": [_selected(row, _parsed(request, "select_cols", ["*"])) for row in shown],
        }

    def _rows(self) -> list[dict[str, Any]]:
        lag = self._rule("list-lag", "list")
        return [self._shown(instance) for instance in self._cloud.instances.listed(lag.seconds if lag else 0.0)]

    # Changes and ends

    def _manage(self, request: Request) -> Response:
        instance, body = self._cloud.instances.get(request.params["id"]), request.json()
        if instance is None:
            return no_such_instance(request.params["id"])
        if not isinstance(body, dict) or body.get("state", RUNNING) not in (RUNNING, STOPPED):
            return invalid("'state' is running or stopped")
        instance.label = body.get("label", instance.label)
        if "state" in body and body["state"] != instance.intended_status and not self._moved(instance, body["state"]):
            text = "Required resources are currently unavailable, state change queued."
            return refused(200, "resources_unavailable", text)
        return json_response({"success": True})

    def _moved(self, instance: Instance, state: str) -> bool:
        """Whether it could be; nothing is queued here."""
        if state == RUNNING and not self._cloud.asks.are_free(instance.terms.ask):
            return False
        (self._cloud.instances.start if state == RUNNING else self._cloud.instances.stop)(instance)
        return True

    def _destroy(self, request: Request) -> Response:
        instance = self._cloud.instances.get(request.params["id"])
        if instance is None or instance.gone_at is not None:
            return no_such_instance(request.params["id"])
        lag = self._rule("delete-lag", "delete")
        if not self._rule("delete-204-stays", "delete"):
            self._cloud.instances.destroy(instance, lag.seconds if lag else 0.0)
        return json_response({"success": True})

    def _rule(self, what: str, call: str) -> Rule | None:
        return self._cloud.misbehaviour.take(what, call=call)


def _parsed(request: Request, name: str, default: Any) -> Any:
    """A parameter that is JSON. Raises BadQuery."""
    try:
        value = json.loads(request.query[name]) if name in request.query else default
    except ValueError:
        raise BadQuery(f"{name} is not JSON") from None
    if not isinstance(value, type(default)):
        raise BadQuery(f"{name} has the wrong type")
    return value


def _selected(row: Row, columns: list[str]) -> Row:
    return row if "*" in columns else {name: row.get(name) for name in columns}


def _token(offset: int) -> str:
    return base64.b64encode(json.dumps({"values": {"offset": offset}}).encode()).decode()


def _offset(token: str | None) -> int:
    """Raises ValueError."""
    try:
        return int(json.loads(base64.b64decode(token))["values"]["offset"]) if token else 0
    except (KeyError, TypeError):
        raise ValueError(token) from None
