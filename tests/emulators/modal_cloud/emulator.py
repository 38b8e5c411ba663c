"""Modal on loopback: its gRPC API at a port of its own, and `/_emulator/...` (bill, state) at the emulator's URL.

Functions run for real, in processes of Modal's own runtime, and cost by the second while these live: web functions and
Servers behind an edge, each at a port of its own. Schedules are kept and run when they are told to.
"""

import pickle
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modal_proto import api_pb2

from .. import process_tree
from ..cloud import Cloud
from ..engines import Engine
from ..misbehaviour import Rule
from ..server import Response, Route, json_response
from .account import DEFAULT, Account
from .apps import Apps
from .checks import check
from .containers import PREEMPTED, Container
from .dicts import Dicts
from .edge import Edge, Refusal
from .files import Files
from .fleet import Fleet
from .front import WORDS, Front
from .functions import Function, Functions
from .images import Images
from .logs import Logs
from .proxy_tokens import ProxyTokens
from .reports import Reports
from .scheduling import Scheduling
from .secret_store import SecretStore
from .server import Rpcs, RpcServer
from .tasks import Tasks
from .volumes import Volumes

REDIRECT_AFTER_S = 150.0
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
    """A workspace at Modal with one token.

    `redirect_after_s` is how long a request waits for its answer before it is redirected to it, in real time. `bearer`
    tells whether a proxy token in an Authorization header passes in front of web functions too, as it does in front of
    Servers. In `restricted` ones of the `environments` a proxy token has to be allowed.
    """

    WORDS = WORDS

    def __init__(
        self,
        *,
        redirect_after_s: float = REDIRECT_AFTER_S,
        bearer: bool = True,
        environments: Sequence[str] = (DEFAULT,),
        restricted: Collection[str] = (),
        **of_every_cloud: Any,
    ) -> None:
        super().__init__(**of_every_cloud)
        self._bearer = bearer
        self._folder = Path(tempfile.gettempdir(), f"modal-{secrets.token_hex(6)}")
        self.rpc = RpcServer()
        self._port = 0
        self.front = Front(self._take)
        self.account = Account(environments)
        self.proxy_tokens = ProxyTokens(self.account, self.clock, restricted)
        self.dicts = Dicts()
        self.secret_store = SecretStore()
        self.files = Files()
        self.logs = Logs()
        self.images = Images(self._take, self.logs)
        self.volumes = Volumes(self.account, self._folder / "volumes")
        self.edge = Edge(self._admit_request, redirect_after_s, self._sees, pretends=self.engine == Engine.PRETEND)
        self.fleet = Fleet(self, self._folder)
        self.functions = Functions(self.fleet.run, self.clock.speed, check, self._url_of)
        self.apps = Apps(self, self.account, self.functions, self.logs)

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
            "apps": [
                {"name": app.name, "functions": [*app.function_ids], "tags": app.tags} for app in self.apps.deployed()
            ],
            "secrets": {name: sorted(variables) for name, variables in self.secret_store.named},
            "dicts": [name for name, _ in self.dicts.named],
            "volumes": [volume.name for volume in self.volumes],
            "proxy_tokens": [token.name for token in self.proxy_tokens],
        }

    def start(self) -> None:
        super().start()
        self._folder.mkdir(mode=0o700)
        self._leftovers = process_tree.watch(self._folder)
        self.rpc.start()
        services = (
            *(self.account, self.proxy_tokens, self.apps, self.functions, Scheduling(self.apps, self.functions)),
            *(Tasks(self.apps, self.fleet.containers), Reports(self.apps, self.fleet.containers, self.clock)),
            *(self.images, self.files, self.volumes, self.logs, self.secret_store, self.dicts),
        )
        rpcs = Rpcs(services, self.account.admit, self.lock, self.front.before, self._sees)
        self._port = self.rpc.run(self.rpc.listen(rpcs))

    def stop(self) -> None:
        self.rpc.run(self.edge.close())
        self.rpc.run(self.fleet.close())
        self.rpc.stop()
        assert self._leftovers.stdin is not None
        self._leftovers.stdin.close()
        self._leftovers.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        super().stop()

    def _take(self, *words: str, call: str, gpu: str = "") -> Rule | None:
        with self.lock:
            return self.misbehaviour.take(*words, call=call, gpu=gpu)

    def _sees(self, call: str, client: int) -> Callable[[], None]:
        return self.witness.sees(call, client)

    async def _url_of(self, function: Function) -> str:
        app = self.apps.get(function.app_id)
        return await self.edge.url_of(f"{app.environment}--{app.name or app.description}-{function.name}", function)

    def _admit_request(self, function: Function, headers: dict[str, str]) -> Refusal | None:
        """The edge asks, of a request to a function or a Server."""
        if not _asks_for_a_token(function):
            return None
        bearer = function.is_server or (self._bearer and self._take("no-bearer", call="proxy") is None)
        environment = self.apps.get(function.app_id).environment
        return self.proxy_tokens.refusal(headers, environment, bearer=bearer)

    # For tests.

    @property
    def containers_so_far(self) -> Sequence[Container]:
        """All that there have ever been, also those that still wait for a machine."""
        return self.fleet.containers

    @property
    def functions_created(self) -> Sequence[api_pb2.FunctionCreateRequest]:
        return self.functions.created

    def apps_deployed(self) -> list[str]:
        """Their names."""
        with self.lock:
            return [app.name for app in self.apps.deployed()]

    def live_containers(self) -> list[Container]:
        """Those that have not ended, also those that still wait for a machine."""
        return [container for container in self.fleet.containers if not container.finished_at]

    def crash(self, app: str) -> None:
        """Kills what runs in the containers of that app, but for Modal's own runtime."""
        for container in self._containers_of(app):
            container.crash()

    def preempt(self, app: str) -> None:
        """Takes one container of that app away."""
        container = next(self._containers_of(app))
        self.rpc.loop.call_soon_threadsafe(container.stop, PREEMPTED)

    def _containers_of(self, app: str) -> Iterator[Container]:
        """That run."""
        names = {id_: deployed.name for deployed in self.apps.deployed() for id_ in deployed.function_ids.values()}
        started = (container for container in self.live_containers() if container.started_at)
        return (container for container in started if names.get(container.function.id) == app)

    def run_schedules(self) -> Sequence[Ran]:
        """All functions that have a schedule, one after the other, as if it were time."""
        return self.rpc.run(self._run_schedules())

    def stop_apps(self) -> None:
        """All of them, as somebody may do on Modal's pages."""
        self.rpc.run(self._stop_apps())

    async def _stop_apps(self) -> None:
        for app in list(self.apps.deployed()):
            self.apps.AppStop(api_pb2.AppStopRequest(app_id=app.id))

    async def _run_schedules(self) -> Sequence[Ran]:
        functions = [self.functions.get(id_) for app in self.apps.deployed() for id_ in app.function_ids.values()]
        return [await _ran(one) for one in functions if one.published and one.published.HasField("schedule")]


def _asks_for_a_token(function: Function) -> bool:
    assert function.published is not None
    if function.is_server:
        return not function.published.http_config.unauthenticated
    return function.published.webhook_config.requires_proxy_auth


async def _ran(function: Function) -> Ran:
    given = api_pb2.FunctionInput(args=NOTHING, data_format=api_pb2.DATA_FORMAT_PICKLE)
    result = (await function.call(given).output).result
    succeeded = result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
    return Ran(function.name, pickle.loads(result.data) if succeeded else None, result.exception)
