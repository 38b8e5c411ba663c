"""Lambda's firewall rulesets: `/firewall-rulesets`, attached to instances at their launch.

Sources: Lambda's OpenAPI file 1.10.0; docs.lambda.ai, "Firewalls": without one, TCP port 22 and ICMP get through; a
ruleset is of one region, stays with its instances as long as they exist, and cannot be deleted before. Whether its
rules add to the global ones or replace them is not documented: here they replace them. In us-south-1 no rules apply;
what gets through there is not documented: here the same as without a ruleset.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING, Any

from ..server import Request, Response, Route
from .answers import data, invalid, no_such, refused
from .catalogue import REGIONS, region_json

if TYPE_CHECKING:
    from .emulator import LambdaEmulator

Rule = Mapping[str, Any]

PROTOCOLS = ("tcp", "udp", "icmp", "all")
LONGEST_NAME, LONGEST_DESCRIPTION = 64, 128
NO_FIREWALL = "us-south-1"
NETWORK = re.compile(r"[\d.]+(/\d+)?")
FROM_ANYWHERE = {"source_network": "0.0.0.0/0", "description": ""}
GLOBAL: Sequence[Rule] = (
    {"protocol": "tcp", "port_range": [22, 22], **FROM_ANYWHERE},
    {"protocol": "icmp", **FROM_ANYWHERE},
)


@dataclass
class Ruleset:
    """One ruleset."""

    id: str
    name: str
    region: str
    rules: Sequence[Rule]
    created: str


class Firewall:
    """All rulesets of the account. Called under the cloud's lock, but for `admits`."""

    def __init__(self, cloud: "LambdaEmulator") -> None:
        self._cloud = cloud
        self._rulesets: dict[str, Ruleset] = {}

    def get(self, id: str) -> Ruleset | None:  # noqa: A002
        return self._rulesets.get(id)

    def admits(self, ids: Sequence[str], port: int, host: str) -> bool:
        """Whether that host gets through to a TCP port of an instance with those rulesets."""
        found = [one for one in map(self._rulesets.get, ids) if one and one.region != NO_FIREWALL]
        rules = [rule for one in found for rule in one.rules] if found else GLOBAL
        return any(_lets_through(rule, port, host) for rule in rules)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/firewall-rulesets", self._list, call="account"),
            Route("POST", "/api/v1/firewall-rulesets", self._create, call="account"),
            Route("GET", "/api/v1/firewall-rulesets/{id}", self._get, call="account"),
            Route("PATCH", "/api/v1/firewall-rulesets/{id}", self._change, call="account"),
            Route("DELETE", "/api/v1/firewall-rulesets/{id}", self._delete, call="account"),
        ]

    def _list(self, _: Request) -> Response:
        return data([self._shown(one) for one in self._rulesets.values()])

    def _get(self, request: Request) -> Response:
        found = self.get(request.params["id"])
        return data(self._shown(found)) if found else no_such("firewall ruleset")

    def _create(self, request: Request) -> Response:
        body = request.json()
        if not _is_right(body, required=("name", "region", "rules")) or body["region"] not in REGIONS:
            return invalid("Invalid request data: name, region or rules")
        created = self._cloud.clock.timestamp()
        made = Ruleset(secrets.token_hex(16), body["name"], body["region"], body["rules"], created)
        self._rulesets[made.id] = made
        return data(self._shown(made))

    def _change(self, request: Request) -> Response:
        found, body = self.get(request.params["id"]), request.json()
        if found is None:
            return no_such("firewall ruleset")
        if not _is_right(body):
            return invalid("Invalid request data: name or rules")
        found.name, found.rules = body.get("name", found.name), body.get("rules", found.rules)
        return data(self._shown(found))

    def _delete(self, request: Request) -> Response:
        found = self.get(request.params["id"])
        if found is None:
            return no_such("firewall ruleset")
        if self._users(found):
            code = "firewall-rulesets/firewall-ruleset-in-use"
            suggestion = "Terminate all instances that are using the ruleset before deleting it."
            return refused(400, code, "Firewall ruleset is in use by one or more instances.", suggestion)
        del self._rulesets[found.id]
        return data({})

    def _shown(self, ruleset: Ruleset) -> Mapping[str, Any]:
        return {
            "id": ruleset.id,
            "name": ruleset.name,
            "region": region_json(ruleset.region),
            "rules": ruleset.rules,
            "created": ruleset.created,
            "instance_ids": self._users(ruleset),
        }

    def _users(self, ruleset: Ruleset) -> list[str]:
        """What is being terminated counts as long as it is shown."""
        shown = self._cloud.instances.listed()
        return [instance.id for instance in shown if ruleset.id in instance.machine.order.ruleset_ids]


def _lets_through(rule: Rule, port: int, host: str) -> bool:
    if rule["protocol"] not in ("tcp", "all"):
        return False
    first, last = rule["port_range"]
    return first <= port <= last and ip_address(host) in IPv4Network(rule["source_network"], strict=False)


def _is_right(body: Any, required: Sequence[str] = ()) -> bool:
    """Of a ruleset that is made, or changed."""
    if not isinstance(body, dict) or any(name not in body for name in required):
        return False
    name, rules = body.get("name", "name"), body.get("rules", [])
    is_name = isinstance(name, str) and len(name) <= LONGEST_NAME
    return is_name and isinstance(rules, list) and all(map(_is_rule, rules))


def _is_rule(rule: Any) -> bool:
    if not isinstance(rule, dict) or rule.get("protocol") not in PROTOCOLS:
        return False
    source, description = rule.get("source_network"), rule.get("description")
    if not isinstance(description, str) or len(description) > LONGEST_DESCRIPTION or not _is_network(source):
        return False
    ports = rule.get("port_range")
    return ports is None if rule["protocol"] == "icmp" else _is_range(ports)


def _is_network(value: Any) -> bool:
    try:
        return (
            isinstance(value, str) and NETWORK.fullmatch(value) is not None and bool(IPv4Network(value, strict=False))
        )
    except ValueError:
        return False


def _is_range(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(port, int) for port in value):
        return False
    return 1 <= value[0] <= value[1] <= 65_535
