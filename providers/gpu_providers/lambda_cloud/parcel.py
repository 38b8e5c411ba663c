"""What a machine is to run, as one document: whoever boots it need not be the process that launched it."""

import json
import re
from collections.abc import Mapping

from gpu_providers.base import LaunchRequest, Secret
from gpu_providers.errors import InvalidRequest
from gpu_providers.lambda_cloud.filesystems import VOLUME_PATH

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - only where somebody asked for a public port
INSTANCE_VARIABLE = "GPU_LAMBDA_INSTANCE"
"""Tells what runs on a machine which instance of Lambda's that is."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LONGEST_LINE = 65_535
"""Docker reads its env-files with Go's bufio.Scanner, whose lines are shorter than 64 KiB."""


def parcel_of(request: LaunchRequest, secret_env: Mapping[str, Secret]) -> Secret:
    """JSON, as `on_machine` reads it. `secret_env` is all that is secret, the request's own included.

    Raises InvalidRequest for variables that Docker could not be given in a file.
    """
    env = {**request.env, **{name: secret.reveal() for name, secret in secret_env.items()}}
    for name, value in env.items():
        _check_variable(name, value)
    document = {
        "image": request.image,
        "older_image": request.older_image,
        "min_cuda_version": request.min_cuda_version,
        "entrypoint": request.entrypoint,
        "command": request.command,
        "env": env,
        "labels": dict(request.labels),
        "port": request.port,
        "publish": EVERYWHERE if request.public else LOOPBACK,
        "volume": VOLUME_PATH if request.volume else "",
        "gpu_count": request.offer.gpu_count,
        "architecture": request.offer.architecture,
    }
    return Secret(json.dumps(document))


def addressed(parcel: Secret, instance_id: str) -> bytes:
    """The parcel as it is handed over to this instance."""
    document = json.loads(parcel.reveal())
    document["env"][INSTANCE_VARIABLE] = instance_id
    return json.dumps(document).encode()


def _check_variable(name: str, value: str) -> None:
    """Docker takes each line of an env-file as it is: there is no way to write a line end."""
    hint = "leave it out of the recipe's `env`, or encode it"
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot be the name of an environment variable", hint=hint)
    if re.search(r"[\r\n\0\ud800-\udfff]", value):
        raise InvalidRequest(f"the environment variable {name} is not one line of text", hint=hint)
    if len(f"{name}={value}".encode()) > _LONGEST_LINE:
        raise InvalidRequest(f"the environment variable {name} is longer than 64 KiB", hint=hint)
