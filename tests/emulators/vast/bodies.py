"""What Vast.ai accepts as the body of a create, and what it says of another.

Sources: Vast's OpenAPI file (types, bounds, kinds of errors); vast-ai/docs, "Creating instances with the API" (env is
an object, ports are keys of it) and "Networking" (64 ports); skypilot-org/skypilot#9486 ("invalid env type"). Of limits
on which sources differ, the least counts here: who keeps to it is safe.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..server import Response
from .answers import invalid

LONGEST_IMAGE, LONGEST_LABEL = 1024, 256
LEAST_DISK_GB = 8
ENTRY_CHARS, ENV_CHARS = 256, 32_768
"""Of one name with its value, and of all of them."""
START_CHARS = 4096
"""Of `onstart` and `args` together."""
LOWEST_BID_USD, HIGHEST_BID_USD = 0.001, 128.0
MOST_PORTS = 64
RUNTYPES = (
    *("args", "ssh", "jupyter", "ssh_proxy", "ssh_direct", "jupyter_proxy", "jupyter_direct"),
    *("ssh_direc ssh_proxy", "jupyter_direc ssh_direc ssh_proxy"),
)
PORT = re.compile(r"-p (\d{1,5}):(\d{1,5})(?:/(tcp|udp))?")
FLAG = re.compile(rf"{PORT.pattern}|-h [\w.-]+|-v V\.\d+:/\S+")
NAME = re.compile(r"[A-Za-z_]\w*")
ARGS = "args"

Body = Mapping[str, Any]


def wrong(body: Any) -> Response | None:
    """The refusal of the body, or None."""
    if not isinstance(body, dict):
        return invalid("the body is not a JSON object")
    for name, is_right in FIELDS.items():
        if body.get(name) is not None and not is_right(body[name]):
            return invalid(f"{name!r} is not valid")
    if not body.get("image"):
        return invalid("'image' is required")
    return _wrong_env(body.get("env", {})) or _too_long(body) or _wrong_price(body.get("price"))


def _is(kind: type, condition: Callable[[Any], bool] = lambda _: True) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and condition(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "client_id": _is(str, lambda value: value == "me"),
    "image": _is(str, lambda value: len(value) <= LONGEST_IMAGE),
    "disk": lambda value: _is_number(value) and value >= LEAST_DISK_GB,
    "label": _is(str, lambda value: len(value) <= LONGEST_LABEL),
    "runtype": _is(str, RUNTYPES.__contains__),
    "onstart": _is(str),
    "args": _is(list, lambda value: all(isinstance(word, str) for word in value)),
    "args_str": _is(str),
    "cancel_unavail": _is(bool),
    "target_state": _is(str, ("running", "stopped").__contains__),
    "image_login": _is(str),
    "user": _is(str),
}


def _wrong_env(env: Any) -> Response | None:
    if not isinstance(env, dict):
        return invalid("invalid env type")
    for name, value in env.items():
        if not isinstance(value, str) or not (NAME.fullmatch(name) or FLAG.fullmatch(name)):
            return invalid(f"invalid env {name!r}")
        if len(name) + len(value) > ENTRY_CHARS:
            return invalid(f"env {name!r} is longer than {ENTRY_CHARS}")
    if sum(len(name) + len(value) for name, value in env.items()) > ENV_CHARS:
        return invalid(f"env is longer than {ENV_CHARS}")
    too_many = sum(name.startswith("-p") for name in env) > MOST_PORTS
    return invalid(f"more than {MOST_PORTS} ports") if too_many else None


def _too_long(body: Body) -> Response | None:
    words = [body.get("onstart") or "", body.get("args_str") or "", *(body.get("args") or ())]
    too_long = len(" ".join(filter(None, words))) > START_CHARS
    return invalid(f"onstart and args are longer than {START_CHARS}") if too_long else None


def _wrong_price(price: Any) -> Response | None:
    is_right = price is None or (_is_number(price) and LOWEST_BID_USD <= price <= HIGHEST_BID_USD)
    return None if is_right else invalid("price", "invalid_price")


def run_type(body: Body) -> str:
    """As it is or goes without saying."""
    return body.get("runtype") or (ARGS if body.get("args") or body.get("args_str") else "ssh")


def ports(body: Body) -> list[tuple[int, str]]:
    """Of the container, as they are to be open, each with its protocol."""
    found = filter(None, map(PORT.fullmatch, body.get("env", {})))
    return [(int(port[2]), port[3] or "tcp") for port in found]


def variables(body: Body) -> dict[str, str]:
    """The environment without the flags that ride in it."""
    return {name: value for name, value in body.get("env", {}).items() if NAME.fullmatch(name)}
