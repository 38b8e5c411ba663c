"""An instance as Vast.ai shows it.

What the sources say, and this does (recorded answers; vast-ai/docs OpenAPI; dstackai/dstack): the address is there from
the beginning and has white space around it; ports are there while it runs, as text, once for each family of addresses,
none before that, and null as long as nothing is heard of the host; the environment is a list of pairs, secrets and all;
`status_msg` may end with a newline and tells what Docker said.
"""

from typing import Any

from ..container_log import SYSTEM
from . import asks
from .bodies import run_type
from .instances import ADDRESS, RUNNING, Instance

UNMEASURED = -1
NO_PORT = -1
NOT_OF_INSTANCES = ("id", "ask_contract_id", "bundled_results", "hostname", "rented", "rn", "resource_type")
FILTERABLE = ("id", "label", "actual_status", "intended_status", "gpu_name", "machine_id", "verification", "is_bid")
"""Columns of the contract itself; a filter by a computed one is refused (Vast's OpenAPI file)."""


def as_json(instance: Instance, now: float) -> dict[str, Any]:
    ask = instance.terms.ask
    of_the_offer = asks.row(ask, instance.created_at)
    row = {name: value for name, value in of_the_offer.items() if name not in NOT_OF_INSTANCES and value is not None}
    return row | _identity(instance) | _status(instance, now) | _use(instance, now) | _prices(instance, now)


def _identity(instance: Instance) -> dict[str, Any]:
    body = instance.terms.body
    return {
        "id": instance.id,
        "label": instance.label,
        "image_uuid": body["image"],
        "image_args": body.get("args") or [],
        "image_runtype": run_type(body),
        "extra_env": [[name, value] for name, value in body.get("env", {}).items()],
        "onstart": body.get("onstart") or "",
        **dict.fromkeys(("template_id", "template_hash_id", "template_name")),
        "jupyter_token": "",
        "volume_info": [],
        "external": False,
    }


def _status(instance: Instance, now: float) -> dict[str, Any]:
    status = instance.actual_status(now)
    ports = instance.host_ports if status == RUNNING else {}
    return {
        "actual_status": status,
        "intended_status": instance.intended_status,
        "cur_state": instance.cur_state,
        "next_state": instance.next_state,
        "status_msg": _message(instance, status),
        "public_ipaddr": f" {ADDRESS}\n",
        "local_ipaddrs": "10.2.202.31 172.17.0.1 \n",
        "ports": None if status is None else {name: _bound(port) for name, port in ports.items()},
        "direct_port_start": min(ports.values(), default=NO_PORT),
        "direct_port_end": max(ports.values(), default=NO_PORT),
        "ssh_host": "ssh4.vast.ai",
        "ssh_idx": "4",
        "ssh_port": 10_000 + instance.id % 50_000,
        "machine_dir_ssh_port": 21_000,
    }


def _bound(port: int) -> list[dict[str, str]]:
    return [{"HostIp": "0.0.0.0", "HostPort": str(port)}, {"HostIp": "::", "HostPort": str(port)}]


def _message(instance: Instance, status: str | None) -> str | None:
    if status == RUNNING:
        return f"success, running {instance.terms.body['image']}\n"
    said = [line.line for line in instance.log.lines() if line.source == SYSTEM] if instance.log else []
    return f"{said[-1]}\n" if said else None


def _use(instance: Instance, now: float) -> dict[str, Any]:
    runs = instance.actual_status(now) == RUNNING
    return {
        "start_date": instance.created_at,
        "end_date": instance.terms.end_at,
        "duration": instance.terms.end_at - now,
        "uptime_mins": (now - instance.started_at) / 60 if runs else None,
        "disk_space": instance.terms.disk_gb,
        "disk_usage": UNMEASURED,
        "disk_util": UNMEASURED,
        "cpu_util": 0.0,
        **dict.fromkeys(("gpu_util", "gpu_temp", "mem_limit", "mem_usage", "vmem_usage")),
        "gpu_totalram": instance.terms.ask.machine.card.gpu_ram * instance.terms.ask.gpus,
        "country_code": None,
        "client_run_time": now - instance.created_at,
        "host_run_time": now - instance.created_at,
    }


def _prices(instance: Instance, now: float) -> dict[str, Any]:
    terms = instance.terms
    runs = instance.actual_status(now) == RUNNING
    return {
        "is_bid": terms.is_bid,
        "dph_base": terms.base_usd,
        "dph_total": terms.base_usd + terms.disk_usd,
        "storage_total_cost": terms.disk_usd,
        "search": asks.hourly(terms.base_usd, terms.disk_usd),
        "instance": asks.hourly(terms.base_usd if runs else 0.0, terms.disk_usd),
    }
