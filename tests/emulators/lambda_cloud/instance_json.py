"""Lambda's instances as its API shows them. What is not known yet is left out; `user_data` is never shown."""

from typing import Any

from .catalogue import TYPES, region_json
from .instances import ACTIVE, BOOTING, TERMINATED, TERMINATING, Instance

ACTIONS = ("migrate", "rebuild", "restart", "cold_reboot", "terminate")
NOT_LAUNCHED, IS_TERMINATING = "vm-has-not-launched", "vm-is-terminating"


def as_json(instance: Instance, now: float) -> dict[str, Any]:
    known = _named(instance) | _network(instance) | _jupyter(instance, now)
    return known | {
        "id": instance.id,
        "status": instance.status(now),
        "ssh_key_names": instance.body["ssh_key_names"],
        "file_system_names": instance.body.get("file_system_names", []),
        "file_system_mounts": [
            {"mount_point": mount_point, "file_system_id": id_} for id_, mount_point in instance.mount_points.items()
        ],
        "region": region_json(instance.body["region_name"]),
        "instance_type": TYPES[instance.type_name].as_json(instance.type_name),
        "hostname": instance.machine.order.hostname,
        "actions": {action: _available(action, instance.status(now)) for action in ACTIONS},
        "tags": instance.body.get("tags", []),
        "firewall_rulesets": [{"id": id_} for id_ in instance.machine.order.ruleset_ids],
    }


def _named(instance: Instance) -> dict[str, str]:
    return {"name": instance.name} if instance.name else {}


def _network(instance: Instance) -> dict[str, str]:
    ip = instance.machine.ip
    return {"ip": ip, "private_ip": f"10.{ip.partition('.')[2]}"} if ip else {}


def _jupyter(instance: Instance, now: float) -> dict[str, str]:
    """Secrets: whoever has them is logged in."""
    if instance.status(now) != ACTIVE:
        return {}
    token = f"jupyter-{instance.id}"
    return {"jupyter_token": token, "jupyter_url": f"https://jupyter-{instance.id[:8]}.example.com/?token={token}"}


def _available(action: str, status: str) -> dict[str, Any]:
    if status in (TERMINATING, TERMINATED):
        return {"available": False, "reason_code": IS_TERMINATING, "reason_description": "It is being terminated."}
    if status == BOOTING and action != "terminate":
        return {"available": False, "reason_code": NOT_LAUNCHED, "reason_description": "It has not launched yet."}
    return {"available": True}
