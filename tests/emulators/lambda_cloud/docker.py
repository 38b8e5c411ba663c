"""`docker` on an emulated machine, as far as it is used: the texts and the statuses are those of Docker 28."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from . import docker_containers, docker_images
from .calls import Call, Output, failed
from .docker_daemon import DaemonError, NoProgram
from .docker_options import UsageError
from .templates import TemplateError

if TYPE_CHECKING:
    from .linux_machine import LinuxMachine

COMMANDS: Mapping[str, Callable[["LinuxMachine", Call], Output]] = {
    "version": docker_images.version,
    "info": docker_images.info,
    "pull": docker_images.pull,
    "image": docker_images.image,
    "run": docker_containers.run,
    "inspect": docker_containers.inspect,
    "port": docker_containers.port,
    "logs": docker_containers.logs,
    "ps": docker_containers.ps,
    "rm": docker_containers.rm,
}
"""Each is called without its own name, and not under the cloud's lock. They raise DaemonError, UsageError and
TemplateError."""
USAGE, NOT_FOUND = 125, 127
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NO_RIGHT = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.51/version": dial unix /var/run/docker.sock: connect: permission denied'
)


def docker(machine: "LinuxMachine", call: Call) -> Output:
    """Any command line of `docker`; what is wrong is told as the client tells it."""
    name, *arguments = call.arguments or [""]
    if name not in COMMANDS:
        return failed(f"docker: unknown command: docker {name}\n\nRun 'docker --help' for more information")
    if not call.is_root:
        return failed(NO_RIGHT)
    if not machine.docker.is_up:
        return failed(NO_DAEMON)
    command = partial(COMMANDS[name], machine, Call(arguments, call.cwd, call.environ))
    return _of_run(command) if name == "run" else _of_others(command)


def _of_run(command: Callable[[], Output]) -> Output:
    try:
        return (yield from command())
    except DaemonError as error:
        text, status = f"Error response from daemon: {error}", NOT_FOUND if isinstance(error, NoProgram) else USAGE
    except UsageError as error:
        text, status = str(error), USAGE
    return (yield from failed(f"docker: {text}\n\nRun 'docker run --help' for more information", status))


def _of_others(command: Callable[[], Output]) -> Output:
    try:
        return (yield from command())
    except DaemonError as error:
        return (yield from failed(f"Error response from daemon: {error}"))
    except UsageError as error:
        return (yield from failed(str(error), USAGE))
    except TemplateError as error:
        return (yield from failed(str(error)))
