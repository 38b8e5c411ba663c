"""What a container of Vast.ai is started with.

What the sources say, and this does (vast-ai/docs, "Docker environment"; dstackai/dstack): with the run type `args` the
image's entrypoint runs, or `onstart` when it is given, with `args`; it gets its own id, a key that is good for itself,
its label, the address and the ports of its host. An end of the command is final. Other run types are not emulated: the
container is there, and nothing runs in it.

The product packs a command and its environment into variables; one machine has one set of ports, so the declared port
is rewritten inside of that parcel.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_providers.vast.packing import pack
from gpu_providers.vast.unpack import BOX, unpack

from .. import images
from ..container_spec import ContainerSpec
from . import bodies

WAITING = (("sleep",), ("infinity",))


def container_spec(id: int, body: Mapping[str, Any], injected: Mapping[str, str]) -> ContainerSpec:  # noqa: A002
    """What is to run, with those variables of the cloud's."""
    declared = [port for port, protocol in bodies.ports(body) if protocol == "tcp"]
    entrypoint, cmd = _command(body) if bodies.run_type(body) == bodies.ARGS else WAITING
    return ContainerSpec(
        id=str(id),
        image=body["image"],
        entrypoint=entrypoint,
        cmd=cmd,
        env={**bodies.variables(body), **injected},
        port=declared[0] if declared else 0,
        restarts=False,
        env_on=env_on,
    )


def _command(body: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str]]:
    return shlex.split(body.get("onstart") or ""), body.get("args") or shlex.split(body.get("args_str") or "")


def env_on(env: Mapping[str, str], declared: int, local: int) -> dict[str, str]:
    """The variables with the declared port rewritten, in the parcel as well."""
    parcel = {name: value for name, value in env.items() if name.startswith(BOX)}
    outside = images.env_on({name: value for name, value in env.items() if name not in parcel}, declared, local)
    if not parcel:
        return outside
    inside, command = unpack(parcel)
    return {**outside, **pack(images.env_on(inside, declared, local), images.command_on(command, declared, local))}
