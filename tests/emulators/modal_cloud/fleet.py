"""Where containers run: each gets GPUs, a folder with its files, an environment, a socket and a meter.

Its environment is, later ones winning: of the image, of its Secrets (which is also where a function's own variables
are), and of this machine's only what `containers.REACH` names and that there are no GPUs. One machine has one set of
ports and one root, where every real container has its own; so the declared port becomes a free one in the arguments of
Modal's runtime and in GPU_COMMAND, and the mount paths of Volumes become their folders wherever a variable or
GPU_COMMAND begins with one.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpclib import GRPCError
from modal_proto import api_pb2

from gpu_cli.errors import UserError

from .. import engines, images
from ..containers import CRASHED, IMAGE_ENV, NOT_FOUND, REACH
from ..engines import Engine
from ..pretended import PretendedEngine, serving
from . import rates
from .containers import ADDRESS, Container
from .functions import Function
from .runtime_rpcs import RuntimeRpcs
from .server import Rpcs

if TYPE_CHECKING:
    from .emulator import ModalEmulator

PLACE_S = 0.1
"""Between two looks for GPUs, in real time."""
RUNTIME = (sys.executable, "-m", "modal._container_entrypoint")
RUNTIME_SITE = Path(__file__).parent / "runtime_site"


class Fleet:
    """All containers of one emulator. Called in the server's loop."""

    def __init__(self, cloud: "ModalEmulator", folder: Path) -> None:
        self.containers: list[Container] = []
        """That there have ever been."""
        self._cloud = cloud
        self._folder = folder
        self._commands: Path | None = None
        self._installing = asyncio.Lock()
        self._lives: set[asyncio.Task[None]] = set()

    def run(self, function: Function) -> Container:
        say = partial(self._cloud.logs.say, function.app_id, function.id)
        container = Container(function, self._folder, self._cloud.clock.now, say)
        self.containers.append(container)
        self._keep(self._live(container))
        return container

    async def close(self) -> None:
        """None is left."""
        for function in {container.function for container in self.containers}:
            function.stop()
        await asyncio.gather(*self._lives)

    def _keep(self, life: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(life)
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)

    async def _live(self, container: Container) -> None:
        """All its life."""
        try:
            if await self._place(container):
                await (self._pretend if self._cloud.engine == Engine.PRETEND else self._run)(container)
            container.has_ended()
        except GRPCError as error:  # a Secret that is not there any more
            container.has_ended(str(error.message))
        except (OSError, UserError) as error:  # no engine
            container.has_ended(str(error))

    async def _place(self, container: Container) -> bool:
        """Waits until there are GPUs of a kind that will do; the first one of the list that there is. False when it
        was stopped before.
        """
        while not container.is_stopped:
            for choice in container.function.choices:
                if not self._take("no-capacity", choice.resources.gpu_config):
                    container.definition = choice
                    container.gpu.CopyFrom(choice.resources.gpu_config)
                    return True
            await asyncio.sleep(PLACE_S)
        return False

    def _take(self, word: str, gpu: api_pb2.GPUConfig) -> Any:
        with self._cloud.lock:
            return self._cloud.misbehaviour.take(word, call="create", gpu=gpu.gpu_type)

    async def _run(self, container: Container) -> None:
        definition = container.definition
        (container.folder / "root").mkdir(parents=True)
        self._cloud.files.put(definition.mount_ids, container.folder)
        container.port = images.free_port()
        environ = await self._environ(container)
        rpcs = Rpcs((RuntimeRpcs(container), self._cloud.account, self._cloud.dicts), lambda _: None, self._cloud.lock)
        server = await self._cloud.rpc.listen_at(rpcs, container.socket)
        try:
            container.start(self._command(container), environ)
            self._bill(container)
            await container.watch()
        finally:
            server.close()
            with self._cloud.lock:
                if container.started_at:
                    self._cloud.billing.stop(container.id)

    async def _pretend(self, container: Container) -> None:
        container.port = images.free_port()
        environ = self._cloud.secret_store.environment(container.definition.secret_ids)
        engine = PretendedEngine.of(environ, json.loads(environ["GPU_COMMAND"]))
        async with serving(engine, ADDRESS, container.port):
            self._bill(container)
            await container.pretend()
        with self._cloud.lock:
            self._cloud.billing.stop(container.id)

    def _bill(self, container: Container) -> None:
        usd_per_hour = rates.container_usd_per_hour(container.definition, container.gpu)
        with self._cloud.lock:
            name = self._cloud.apps.get(container.function.app_id).name
            self._cloud.billing.start(container.id, f"{name} worker", usd_per_hour)

    def _command(self, container: Container) -> Sequence[str]:
        """Modal's runtime, unless something stands in its way."""
        if crash := self._take("crash-loop", container.gpu):
            return _failing(crash.text, CRASHED, crash.seconds / self._cloud.clock.speed)
        why = self._cloud.images.unfit(container.definition.image_id)
        return _failing(why, NOT_FOUND) if why else RUNTIME

    async def _environ(self, container: Container) -> dict[str, str]:
        """See the module's docstring. Raises GRPCError."""
        definition = container.definition
        told = self._cloud.secret_store.environment(definition.secret_ids)
        declared = definition.http_config.port or definition.webhook_config.web_server_port
        folders = {mount.mount_path: self._cloud.volumes.folder(mount.volume_id) for mount in definition.volume_mounts}
        root = container.folder / "root"
        commands = await self._find_commands()
        return {
            "PATH": ":".join(filter(None, (commands and str(commands), os.environ.get("PATH", os.defpath)))),
            "HOME": str(root),
            **IMAGE_ENV,
            **_env_here(told, declared, container.port, folders),
            "PYTHONPATH": f"{root}:{RUNTIME_SITE}",
            "GPU_EMULATOR_ETH0": ADDRESS,
            **{name: os.environ[name] for name in REACH if name in os.environ},
            "CUDA_VISIBLE_DEVICES": "",
        }

    async def _find_commands(self) -> Path | None:
        """The folder of the engine's commands, installed for the first container."""
        engine = Engine(self._cloud.engine)
        async with self._installing:
            if self._commands is None and engine not in (Engine.NONE, Engine.PRETEND):
                self._commands = await asyncio.to_thread(engines.install, engine, self._folder)
        return self._commands


def _failing(text: str, status: int, after_s: float = 0.0) -> Sequence[str]:
    """A command that says so and ends with that status."""
    return (sys.executable, "-c", f"import time; print({text!r}); time.sleep({after_s}); exit({status})")


def _env_here(env: Mapping[str, str], declared: int, port: int, folders: Mapping[str, Path]) -> dict[str, str]:
    here = {name: _path_here(value, folders) for name, value in env.items()}
    with suppress(KeyError, ValueError, TypeError):  # what cannot be read is left to the entry file
        command = images.command_on(json.loads(env["GPU_COMMAND"]), declared, port)
        here["GPU_COMMAND"] = json.dumps([_path_here(word, folders) for word in command])
    return here


def _path_here(value: str, folders: Mapping[str, Path]) -> str:
    """What is below a Volume's mount path, below its folder."""
    mounts = (mount for mount in folders if value == mount or value.startswith(f"{mount}/"))
    return next((f"{folders[mount]}{value.removeprefix(mount)}" for mount in mounts), value)
