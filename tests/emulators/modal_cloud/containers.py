"""The containers of Modal's functions: a process with Modal's own runtime, a folder for its root, and a socket.

As the real ones: a container speaks gRPC with whoever runs it, over a socket of its own and without a token; it has the
app's files in /root, its Secrets in the environment, and nothing of the environment of others. The runtime imports the
function, fetches inputs and puts outputs (the installed SDK: _container_entrypoint.py, container_io_manager.py). The
Python is that of the tests, whatever the image says.
"""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from .. import process_tree

if TYPE_CHECKING:
    from .functions import Call, Function

SCALEDOWN_S = 60.0
"""How long a container without work is kept, unless its function says otherwise."""
KILLED = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_TERMINATED, exception="it was stopped")


class Container:
    """One container, and the RPCs that only it may call. Called in the server's loop."""

    def __init__(self, function: "Function", folder: Path) -> None:
        assert function.published is not None
        self.id = f"ta-{secrets.token_hex(11)}"
        self.folder = folder / self.id
        self.log: list[str] = []
        self.lives = True
        """It takes the next input."""
        self._function = function
        self._definition = function.published
        self._calls: dict[str, Call] = {}
        """Those that it works on, by the ids of their inputs."""
        self._began = False
        self._result = _failed("the container ended")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def start(self, secrets_of_it: Mapping[str, str]) -> None:
        """Its folder has its files already, and its socket is served."""
        arguments = self.folder / "arguments"
        arguments.write_bytes(self._arguments().SerializeToString())
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "root"),
            "PYTHONPATH": str(self.folder / "root"),
            **secrets_of_it,
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": self.id,
            "MODAL_SERVER_URL": f"unix://{self.socket}",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
        }
        command = [sys.executable, "-m", "modal._container_entrypoint"]
        self._process = process_tree.start(command, self.folder / "root", environ)

    async def watch(self) -> None:
        """Until it has ended."""
        assert self._process is not None
        await asyncio.to_thread(self._drain, self._process)
        self.lives = False
        for call in self._calls.values():
            call.fail(self._result)
        if not self._began:
            self._function.give_up(self._result)

    def give_up(self, why: str) -> None:
        """It cannot even be started."""
        self.lives = False
        self._function.give_up(_failed(why))

    def stop(self) -> None:
        """No process of it is left when this returns."""
        if self._process and self._process.poll() is None:
            self._result = KILLED
            process_tree.kill(self.folder, self._process.pid)

    def ContainerHello(self, _: Empty) -> Empty:  # noqa: N802
        return Empty()

    def ContainerHeartbeat(self, _: api_pb2.ContainerHeartbeatRequest) -> api_pb2.ContainerHeartbeatResponse:  # noqa: N802
        return api_pb2.ContainerHeartbeatResponse()

    async def FunctionGetInputs(self, _: api_pb2.FunctionGetInputsRequest) -> api_pb2.FunctionGetInputsResponse:  # noqa: N802
        """The next call; to one that has waited for too long, that it may go."""
        patience_s = self._definition.task_idle_timeout_secs or SCALEDOWN_S
        try:
            call = await asyncio.wait_for(self._function.waiting.get(), patience_s)
        except TimeoutError:
            return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
        self._began = True
        self._calls[call.input_id] = call
        if self._definition.single_use_containers:
            self.lives = False  # for others
        item = api_pb2.FunctionGetInputsItem(input_id=call.input_id, input=call.input, function_call_id=call.id)
        return api_pb2.FunctionGetInputsResponse(inputs=[item])

    def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Empty:  # noqa: N802
        for output in request.outputs:
            self._calls.pop(output.input_id).end(output)
        return Empty()

    def TaskResult(self, request: api_pb2.TaskResultRequest) -> Empty:  # noqa: N802
        """What it says of itself when it cannot even begin."""
        self._result = request.result
        return Empty()

    def _arguments(self) -> api_pb2.ContainerArguments:
        function = self._function
        return api_pb2.ContainerArguments(
            task_id=self.id,
            function_id=function.id,
            app_id=function.app_id,
            function_def=self._definition,
            environment_name="main",
            app_layout=api_pb2.AppLayout(objects=[function.as_object()], function_ids={function.name: function.id}),
        )

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            self.log += (line.decode(errors="replace").rstrip() for line in lines)
        process.wait()


def _failed(why: str) -> api_pb2.GenericResult:
    return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=why)
