"""How a launch becomes an instance: POST /api/v1/instance-operations/launch.

What the sources say, and this does:
- What is named and does not exist is a 400 `global/object-does-not-exist` (Lambda's OpenAPI file), but a region that
  the account does not have is `global/invalid-parameters` (NVIDIA's brevdev/cloud).
- A region that is listed with capacity is no promise, and names are not unique (reports of clients; skypilot).
- An image by its family is the one of the region for the architecture of the type; how GH200 resolve is not documented.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..misbehaviour import Rule
from ..server import Request, Response, Route
from . import bodies
from .answers import data, invalid, no_such, quota_exceeded, refused
from .catalogue import REGIONS, TYPES, images_for
from .file_systems import FileSystem

if TYPE_CHECKING:
    from .emulator import LambdaEmulator

SHOWN_BY = ("get", "list")
Body = Mapping[str, Any]


class Launching:
    """The route of launches. Called under the cloud's lock."""

    def __init__(self, cloud: "LambdaEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        return [Route("POST", "/api/v1/instance-operations/launch", self._launch, call="create")]

    def _launch(self, request: Request) -> Response:
        body = request.json()
        refusal = bodies.wrong(body) or self._names_nothing(body) or self._wrong_file_system(body)
        refusal = refusal or self._wrong_ruleset(body)
        return refusal or self._may_not(body) or self._sold_out(body) or self._launched(body)

    def _names_nothing(self, body: Body) -> Response | None:
        if body["region_name"] not in REGIONS:
            return invalid(f"Region {body['region_name']} does not exist")
        if body["instance_type_name"] not in TYPES:
            return no_such("instance type", 400)
        if self._cloud.ssh_keys.named(body["ssh_key_names"][0]) is None:
            return no_such("SSH key", 400)
        return None if self._has_image(body) else no_such("image", 400)

    def _has_image(self, body: Body) -> bool:
        wanted = body.get("image", {})
        images = [image.as_json() for image in images_for(body["instance_type_name"], body["region_name"])]
        return not wanted or any(wanted.items() <= image.items() for image in images)

    def _wrong_file_system(self, body: Body) -> Response | None:
        for file_system in self._file_systems(body):
            if file_system is None:
                return no_such("filesystem", 400)
            if file_system.region != body["region_name"]:
                code = "instance-operations/launch/file-system-in-wrong-region"
                return refused(400, code, f"Filesystem {file_system.name} is in another region.")
        return None

    def _wrong_ruleset(self, body: Body) -> Response | None:
        for entry in body.get("firewall_rulesets", ()):
            ruleset = self._cloud.firewall.get(entry["id"])
            if ruleset is None:
                return no_such("firewall ruleset", 400)
            if ruleset.region != body["region_name"]:
                return invalid(f"Firewall ruleset {ruleset.name} is in another region.")
        return None

    def _file_systems(self, body: Body) -> list[FileSystem | None]:
        """All that the body names, be it by name or by id."""
        by_name = map(self._cloud.file_systems.named, body.get("file_system_names", ()))
        by_id = (self._cloud.file_systems.get(mount["file_system_id"]) for mount in body.get("file_system_mounts", ()))
        return [*by_name, *by_id]

    def _mount_points(self, body: Body) -> dict[str, str]:
        """By id; what is said of one wins over where it would be."""
        usual = {one.id: one.mount_point for one in self._file_systems(body) if one}
        return usual | {mount["file_system_id"]: mount["mount_point"] for mount in body.get("file_system_mounts", ())}

    def _may_not(self, body: Body) -> Response | None:
        if rule := self._rule("no-funds", body):
            return refused(rule.status or 403, "global/account-inactive", "Your account is inactive.")
        return quota_exceeded() if self._rule("spend-limit", body) else None

    def _sold_out(self, body: Body) -> Response | None:
        rule = self._rule("no-capacity", body)
        if not rule and body["region_name"] in self._cloud.catalogue.regions[body["instance_type_name"]]:
            return None
        code = "instance-operations/launch/insufficient-capacity"
        return refused((rule and rule.status) or 400, code, "Not enough capacity to fulfill launch request.")

    def _launched(self, body: Body) -> Response:
        key = self._cloud.ssh_keys.named(body["ssh_key_names"][0])
        assert key
        instance = self._cloud.instances.launch(body, key.public_key, self._mount_points(body))
        now = self._cloud.clock.now()
        if unseen := self._rule("unseen", body):
            instance.hidden_until = dict.fromkeys([unseen.text] if unseen.text else SHOWN_BY, now + unseen.seconds)
        if told := self._rule("host-state", body):
            instance.told_status, instance.told_at = told.text, now + told.seconds
        return data({"instance_ids": [instance.id]})

    def _rule(self, what: str, body: Body) -> Rule | None:
        return self._cloud.misbehaviour.take(what, call="create", gpu=bodies.place(body))
