"""The firewall of a machine that is to be reached from outside: a ruleset of its own, in its region.

Rulesets can be attached only at the launch, and their rules changed later. Without one a machine has port 22 and ICMP
open. There is no firewall in us-south-1 (Lambda's OpenAPI document, 1.10.0; docs.lambda.ai, firewalls).
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from gpu_providers.base import RESOURCE_PREFIX
from gpu_providers.errors import CreateUnknown, ProviderError, ProviderUnavailable
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.values import Json, id_of, moment, parts, text

REGIONS_WITHOUT = ("us-south-1",)
_ANYWHERE = "0.0.0.0/0"
_OURS = "gpu-cli: "
"""Begins the description of each of our rules: a ruleset has no place for tags."""
_ALWAYS: tuple[Json, ...] = (
    {"protocol": "tcp", "port_range": [22, 22], "source_network": _ANYWHERE, "description": f"{_OURS}SSH"},
    {"protocol": "icmp", "source_network": _ANYWHERE, "description": f"{_OURS}ping"},
)
_ORDERED_WITHIN = timedelta(minutes=15)
"""After so long a ruleset that no machine has will be given to none any more."""


def make_ruleset(client: LambdaClient, name: str, region: str) -> str:
    """The id of a new one that opens no more than what is open without it. A lost answer is looked up by the name."""
    try:
        return id_of(client.create_firewall_ruleset(name, region, _ALWAYS))
    except CreateUnknown as error:
        for ruleset in client.firewall_rulesets():
            if text(ruleset, "name") == name:
                return id_of(ruleset)
        raise ProviderUnavailable(error.message, hint="try again later") from None  # no instance was asked for


def open_to(client: LambdaClient, ruleset_id: str, port: int, address: str) -> None:
    """Let in who comes from this IPv4 address, and nobody else."""
    engine = {"protocol": "tcp", "port_range": [port, port], "source_network": f"{address}/32"}
    client.set_firewall_rules(ruleset_id, [*_ALWAYS, {**engine, "description": f"{_OURS}the engine, for its user"}])


def sweep(client: LambdaClient) -> None:
    """Delete what machines that are gone have left. Never raises."""
    with suppress(ProviderError):
        for ruleset in client.firewall_rulesets():
            if _is_left_over(ruleset, datetime.now(UTC)):
                client.delete_firewall_ruleset(id_of(ruleset))


def left_over(client: LambdaClient) -> set[str]:
    """The names of the machines whose rulesets `sweep` would delete."""
    now = datetime.now(UTC)
    return {text(ruleset, "name") for ruleset in client.firewall_rulesets() if _is_left_over(ruleset, now)}


def close(client: LambdaClient, name: str) -> None:
    """Delete the rulesets of a machine that is gone, wherever it was launched from. Never raises."""
    if not name.startswith(RESOURCE_PREFIX):
        return
    with suppress(ProviderError):
        for ruleset in client.firewall_rulesets():
            if text(ruleset, "name") == name and _is_unused(ruleset):
                client.delete_firewall_ruleset(id_of(ruleset))


def _is_left_over(ruleset: Json, now: datetime) -> bool:
    created = moment(ruleset.get("created"))
    return _is_unused(ruleset) and created is not None and now - created > _ORDERED_WITHIN


def _is_unused(ruleset: Json) -> bool:
    """It is one of ours, and no machine has it."""
    rules = parts(ruleset, "rules")
    ours = bool(rules) and all(text(rule, "description").startswith(_OURS) for rule in rules)
    return text(ruleset, "name").startswith(RESOURCE_PREFIX) and ours and ruleset.get("instance_ids") == []
