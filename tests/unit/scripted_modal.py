"""A Modal that answers each RPC as a test has told it: for what an account that works never says."""

from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from types import SimpleNamespace, TracebackType
from typing import Any, NoReturn

from emulators.modal_cloud.server import Rpcs, RpcServer
from grpclib import GRPCError, Status

ANYBODY = {"MODAL_TOKEN_ID": "ak-anybody", "MODAL_TOKEN_SECRET": "as-anybody"}


def refused(status: Status, message: str = "", details: Sequence[Any] = ()) -> Callable[[Any], NoReturn]:
    """The answer that is no success."""

    def answer(_: Any) -> NoReturn:
        raise GRPCError(status, message, list(details))

    return answer


class ScriptedModal:
    """Lives as a context; `environ` leads a client there."""

    def __init__(self, **answers: Callable[[Any], Any]) -> None:
        self.admitted: list[Mapping[str, Any]] = []
        """What came with each request as metadata: who asks."""
        self.environ: dict[str, str] = {}
        self._rpcs = Rpcs([SimpleNamespace(**answers)], self.admitted.append, RLock())
        self._server = RpcServer()

    def __enter__(self) -> "ScriptedModal":
        self._server.start()
        port = self._server.run(self._server.listen(self._rpcs))
        self.environ = {"MODAL_SERVER_URL": f"http://127.0.0.1:{port}", **ANYBODY}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
