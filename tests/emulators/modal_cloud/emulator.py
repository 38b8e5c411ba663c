"""Modal on loopback: its gRPC API at a port of its own, and `/_emulator/...` (bill, state) at the emulator's URL.

Functions run for real, in processes of Modal's own runtime, and cost by the second while these live. Schedules are kept
and run when they are told to.
"""

import asyncio
import pickle
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpclib import GRPCError
from modal_proto import api_pb2

from .. import process_tree
from ..cloud import Cloud
from ..server import Response, Route, json_response
from .account import Account
from .apps import Apps
from .containers import Container
from .dicts import Dicts
from .files import Files
from .functions import Function, Functions
from .secret_store import SecretStore
from .server import Rpcs, RpcServer

CORE_USD_PER_HOUR, CORES = 0.0473, 0.125
GIB_USD_PER_HOUR, GIB = 0.008, 0.125
NOTHING = pickle.dumps(((), {}))
"""The arguments of a call without any."""


@dataclass(frozen=True)
class Ran:
    """One run of a scheduled function."""

    function: str
    value: Any
    """What it returned; None if it failed."""
    exception: str
    """Why it failed, or nothing."""


class ModalEmulator(Cloud):
    """A workspace at Modal with one token. Of the rules of misbehaviour none is about it: they are HTTP's."""

    WORDS = ()

    def __init__(self, **of_every_cloud: Any) -> None:
        super().__init__(**of_every_cloud)
        self.account = Account()
        self.dicts = Dicts()
        self.secret_store = SecretStore()
        self.files = Files()
        self.functions = Functions(self._run_container)
        self.apps = Apps(self.functions)
        self.containers_so_far: list[Container] = []
        self._rpc = RpcServer()
        self._port = 0
        self._folder = Path()
        self._watches: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        return []

    @property
    def env(self) -> dict[str, str]:
        return {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{self._port}",
            "MODAL_TOKEN_ID": self.account.token_id,
            "MODAL_TOKEN_SECRET": self.account.token_secret,
        }

    def refusal(self, status: int, detail: str) -> Response:
        return json_response({"error": detail}, status)

    def state(self) -> Any:
        return {
            "apps": [{"name": app.name, "functions": [*app.function_ids]} for app in self.apps.deployed()],
            "secrets": {name: sorted(variables) for name, variables in self.secret_store.named},
            "dicts": [name for name, _ in self.dicts.named],
        }

    def start(self) -> None:
        super().start()
        self._folder = Path(tempfile.mkdtemp(prefix="modal-"))
        self._leftovers = process_tree.watch(self._folder)
        self._rpc.start()
        services = (self.account, self.apps, self.functions, self.files, self.secret_store, self.dicts)
        self._port = self._rpc.run(self._rpc.listen(Rpcs(services, self.account.admit, self.lock)))

    def stop(self) -> None:
        self._rpc.run(self._end_containers())
        self._rpc.stop()
        assert self._leftovers.stdin is not None
        self._leftovers.stdin.close()
        self._leftovers.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        super().stop()

    def _run_container(self, function: Function) -> Container:
        container = Container(function, self._folder)
        rate = CORE_USD_PER_HOUR * CORES + GIB_USD_PER_HOUR * GIB
        self.billing.start(container.id, function.name, rate)
        self.containers_so_far.append(container)
        self._keep(self._live(container, function))
        return container

    async def _live(self, container: Container, function: Function) -> None:
        """All its life."""
        assert function.published is not None
        (container.folder / "root").mkdir(parents=True)
        self.files.put(function.published.mount_ids, container.folder)
        inside = (container, self.account, self.dicts)
        server = await self._rpc.listen_at(Rpcs(inside, lambda _: None, self.lock), container.socket)
        try:
            container.start(self.secret_store.environment(function.published.secret_ids))
            await container.watch()
        except GRPCError as error:  # a Secret that is not there any more
            container.give_up(str(error.message))
        finally:
            server.close()
            self.billing.stop(container.id)

    def _keep(self, life: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(life)
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _end_containers(self) -> None:
        for container in self.containers_so_far:
            container.stop()
        await asyncio.gather(*self._watches)

    # For tests.

    def run_schedules(self) -> Sequence[Ran]:
        """All functions that have a schedule, one after the other, as if it were time."""
        return self._rpc.run(self._run_schedules())

    def stop_apps(self) -> None:
        """All of them, as somebody may do on Modal's pages."""
        self._rpc.run(self._stop_apps())

    async def _stop_apps(self) -> None:
        for app in list(self.apps.deployed()):
            self.apps.AppStop(api_pb2.AppStopRequest(app_id=app.id))

    async def _run_schedules(self) -> Sequence[Ran]:
        functions = [self.functions.get(id_) for app in self.apps.deployed() for id_ in app.function_ids.values()]
        return [await _ran(one) for one in functions if one.published and one.published.HasField("schedule")]


async def _ran(function: Function) -> Ran:
    given = api_pb2.FunctionInput(args=NOTHING, data_format=api_pb2.DATA_FORMAT_PICKLE)
    result = (await function.call(given).output).result
    succeeded = result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
    return Ran(function.name, pickle.loads(result.data) if succeeded else None, result.exception)
