"""The routes of Lambda's instances, all but their launch.

Sources: Lambda's OpenAPI file 1.10.0: no pages, no filter by name or tag, and the end of an unknown id is a 404. What
becomes of the rest when one id of several is unknown is not documented: nothing ends, here. Nor is how an end is
refused while an instance is busy: with the 409 that the file has for restarts.
"""

from typing import TYPE_CHECKING, Any

from ..misbehaviour import Rule
from ..server import Request, Response, Route
from .answers import data, invalid, no_such, refused_by_status
from .instance_json import as_json
from .instances import Instance

if TYPE_CHECKING:
    from .emulator import LambdaEmulator


class InstanceRoutes:
    """`/instances`. Called under the cloud's lock."""

    def __init__(self, cloud: "LambdaEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/instances", self._list, call="list"),
            Route("GET", "/api/v1/instances/{id}", self._get, call="get"),
            Route("POST", "/api/v1/instance-operations/terminate", self._terminate, call="delete"),
        ]

    def _list(self, _: Request) -> Response:
        lag = self._rule("list-lag", "list")
        return data([self._shown(instance) for instance in self._cloud.instances.listed(lag.seconds if lag else 0.0)])

    def _get(self, request: Request) -> Response:
        instance = self._cloud.instances.get(request.params["id"])
        return data(self._shown(instance)) if instance else no_such("instance")

    def _shown(self, instance: Instance) -> dict[str, Any]:
        return as_json(instance, self._cloud.clock.now())

    def _terminate(self, request: Request) -> Response:
        body = request.json()
        ids = body.get("instance_ids") if isinstance(body, dict) else None
        if not isinstance(ids, list) or not ids:
            return invalid("Invalid request data: instance_ids")
        found = self._found(ids)
        if len(found) < len(ids):
            return no_such("instance")
        if locked := self._rule("delete-locked", "delete"):
            return refused_by_status(locked.status or 409, "The instance is busy.")
        self._end(found)
        return data({"terminated_instances": [self._shown(instance) for instance in found]})

    def _found(self, ids: list[Any]) -> list[Instance]:
        """Without what is gone for good, although its id may still be known."""
        now, found = self._cloud.clock.now(), [self._cloud.instances.get(str(id_)) for id_ in ids]
        return [instance for instance in found if instance and instance.is_shown(now)]

    def _end(self, instances: list[Instance]) -> None:
        lag, stays = self._rule("delete-lag", "delete"), self._rule("delete-204-stays", "delete")
        for instance in instances:
            if not stays and instance.gone_at is None:
                self._cloud.instances.terminate(instance, lag.seconds if lag else 0.0)

    def _rule(self, what: str, call: str) -> Rule | None:
        return self._cloud.misbehaviour.take(what, call=call)
