"""What a container at Modal runs: one command, an HTTP server that listens on all addresses at the port it was told.

One file. Python 3.9 or newer, its standard library, and Modal's client, which is in every container there. In the
environment: GPU_COMMAND, the command as a JSON list. Python modules that lie beside this file can be imported by it.

Nothing here waits for the server: Modal's runtime does, at its port, before it sends the first request. It knows
nothing of the command: a container whose server is dead would live on, and bill. So the container ends with the
command, and with its status. Lines that begin with `gpu:` are for whoever reads the log.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import modal

STARTS = "gpu: engine starts"
ENDED = "gpu: engine ended with status"


def serve() -> None:
    """The function of a web endpoint."""
    command = json.loads(os.environ["GPU_COMMAND"])
    path = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    print(STARTS, flush=True)
    # In a session of its own: what interrupts the runtime must not end the command while requests are still answered.
    engine = subprocess.Popen(command, env=environ, start_new_session=True)
    threading.Thread(target=end_with, args=(engine,), daemon=True).start()


class Server:
    """The same for a Server, which is a class."""

    @modal.enter()
    def start(self) -> None:
        """When its container starts."""
        serve()


def end_with(engine: subprocess.Popen[bytes]) -> None:
    """End the container as the command ends, by the status that a shell would say: 128 and the number of a signal."""
    status = engine.wait()
    code = status if status >= 0 else 128 - status
    print(f"{ENDED} {code}", flush=True)
    os._exit(code)  # the main thread may be anywhere, in the wait for a port that will never open, too
