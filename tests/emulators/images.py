"""What an image and a request for a container come to: the command that runs, and the port it gets on this machine.

One machine has one set of ports, where Docker gives every container its own. So the declared port is rewritten to a
free one wherever the command is told of it, and nowhere else:

    in the command     the value after `--port`, also as `--port=VALUE`
    in GPU_SUPERVISOR  the field `port`, and the same in the list `engine`

A value that is not the declared port stays: what listens elsewhere is not reached, just as behind a real proxy.
"""

import json
import os
import random
import socket
from collections.abc import Mapping, Sequence
from typing import Any

ENTRYPOINTS = {"vllm/vllm-openai": ("vllm", "serve")}
"""Of the images that are known (vLLM's Dockerfile); others have none."""

SHARES = 8
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
LOCAL_PORTS = range(20_000 + _WORKER % SHARES, 32_000, SHARES)
"""Below those that Linux gives to outgoing connections, and of each worker of a test run others: a port that was free
stays free until the command listens.
"""


def entrypoint_of(image: str) -> tuple[str, ...]:
    return ENTRYPOINTS.get(image.partition("@")[0].partition(":")[0].removeprefix("docker.io/"), ())


def free_port() -> int:
    """One that nothing listens on; random, so that test runs beside each other do not meet."""
    for port in random.sample(LOCAL_PORTS, len(LOCAL_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def command_on(command: Sequence[str], declared: int, local: int) -> list[str]:
    """The command with its port rewritten."""
    told = [(previous, word) for previous, word in zip(("", *command), command, strict=False)]
    return [_word_on(previous, word, str(declared), str(local)) for previous, word in told]


def _word_on(previous: str, word: str, declared: str, local: str) -> str:
    if word == f"--port={declared}":
        return f"--port={local}"
    return local if (previous, word) == ("--port", declared) else word


def env_on(env: Mapping[str, str], declared: int, local: int) -> dict[str, str]:
    """The variables with the supervisor's port rewritten; a document that cannot be read is left to the supervisor."""
    try:
        document: Any = json.loads(env["GPU_SUPERVISOR"])
        told: dict[str, object] = {"engine": command_on(document["engine"], declared, local)}
        if document["port"] == declared:
            told["port"] = local
    except (KeyError, ValueError, TypeError):
        return dict(env)
    return {**env, "GPU_SUPERVISOR": json.dumps({**document, **told})}
