"""What Lambda accepts as the body of a launch.

Source: Lambda's OpenAPI file 1.10.0 (names, patterns, bounds, and in prose: one SSH key, 1 MB of user data). That file
allows any other field as well; here none is known but these, so that a misspelt one is found.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..server import Response
from .answers import invalid

REQUIRED = ("region_name", "instance_type_name", "ssh_key_names")
HOSTNAME = re.compile(r"[a-z0-9][0-9a-z-]{0,62}")
MOUNT_POINT = re.compile(r"(/home|/lambda/nfs|/data)[/a-zA-Z0-9-]*")
TAG_KEY = re.compile(r"[a-z][a-z0-9:-]+")
LONGEST_NAME, LONGEST_TAG_KEY, LONGEST_TAG, LONGEST_MOUNT_POINT = 64, 55, 128, 256
MOST_USER_DATA_BYTES = 1_000_000


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and list(value) in (["id"], ["family"]) and all(map(_is_text, value.values()))


def _is_tag(tag: Any) -> bool:
    if not isinstance(tag, dict) or tag.keys() != {"key", "value"} or not _are_texts([*tag.values()]):
        return False
    key_is_right = len(tag["key"]) <= LONGEST_TAG_KEY and TAG_KEY.fullmatch(tag["key"]) is not None
    return key_is_right and len(tag["value"]) <= LONGEST_TAG


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["id"] and _is_text(value["id"])


def _is_mount(mount: Any) -> bool:
    if not isinstance(mount, dict) or mount.keys() != {"mount_point", "file_system_id"}:
        return False
    if not _are_texts([*mount.values()]) or len(mount["mount_point"]) > LONGEST_MOUNT_POINT:
        return False
    return MOUNT_POINT.fullmatch(mount["mount_point"]) is not None


FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "region_name": _is_text,
    "instance_type_name": _is_text,
    "ssh_key_names": lambda value: _are_texts(value) and len(value) == 1,
    "name": lambda value: _is_text(value) and len(value) <= LONGEST_NAME,
    "hostname": lambda value: _is_text(value) and HOSTNAME.fullmatch(value) is not None,
    "image": _is_image,
    "file_system_names": _are_texts,
    "file_system_mounts": lambda value: isinstance(value, list) and all(map(_is_mount, value)),
    "user_data": lambda value: _is_text(value) and len(value.encode()) <= MOST_USER_DATA_BYTES,
    "firewall_rulesets": lambda value: isinstance(value, list) and all(map(_is_entry, value)),
    "tags": lambda value: isinstance(value, list) and all(map(_is_tag, value)),
}


def wrong(body: Any) -> Response | None:
    """The refusal of the body, or None."""
    if not isinstance(body, dict):
        return invalid("Invalid request data.")
    missing = [name for name in REQUIRED if name not in body]
    bad = [name for name, value in body.items() if name not in FIELDS or not FIELDS[name](value)]
    return invalid(f"Invalid request data: {', '.join([*missing, *bad])}") if missing or bad else None


def place(body: Any) -> str:
    """`type@region` of a launch, for rules that are about some; nothing of what is no launch."""
    if not isinstance(body, dict):
        return ""
    return f"{body.get('instance_type_name', '')}@{body.get('region_name', '')}"
