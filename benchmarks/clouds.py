"""How long commands take that ask four clouds, each of which takes its time to answer.

    python benchmarks/clouds.py              # some two minutes
    python benchmarks/clouds.py --delay 0.1
    python benchmarks/clouds.py --json

Run it in a checkout, with the Python that `gpu` and what the tests need are installed in. RunPod, Vast.ai, Lambda and
Modal are the emulators of the tests, behind proxies that hold back every answer for `--delay` seconds (0.3); two
deployments run at each, and 1,000 that ended are on record. Then the same with a Vast.ai that accepts connections and
never answers. Beside it stands how long each cloud's own chain of requests takes (`gpu plan` says that).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gpu_cli.fleet.store import Store
from overhead import GPU, ROWS, Figure, ended, machine, seconds, table

CHECKOUT = Path(__file__).resolve().parents[1]
CLOUDS = ("runpod", "vast", "lambda", "modal")
HANGING = "vast"
LIVING = 2
"""At each cloud."""
RECIPE = """
model: HuggingFaceTB/SmolLM2-135M-Instruct
context: 8192
limits: {start_deadline: 1h, boot_deadline: 1h}
"""
COMMANDS = {
    "gpu offers": ("offers",),
    "gpu plan": ("plan", "llama-70b-fp8"),
    "gpu ls": ("ls",),
    "gpu gc --dry-run": ("gc", "--dry-run"),
}


@dataclass(frozen=True)
class Cloud:
    """An emulator: where it is, and the environment that points `gpu` at it."""

    name: str
    url: str
    env: Mapping[str, str]

    def behind(self, url: str) -> Mapping[str, str]:
        """The environment that points at it by way of a proxy."""
        return {name: value.replace(self.url, url) for name, value in self.env.items()}


class Proxy:
    """Holds back what comes from a cloud for so long; for None nothing ever comes."""

    def __init__(self, target: str, delay_s: float | None) -> None:
        self._target = (urlsplit(target).hostname or "", urlsplit(target).port or 0)
        self._delay_s = delay_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    @property
    def url(self) -> str:
        """Of the proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> "Proxy":
        """It ends with the process."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self) -> None:
        kept = []
        while True:
            client, _ = self._listener.accept()
            if self._delay_s is None:
                kept.append(client)
                continue
            cloud = socket.create_connection(self._target)
            for source, sink, delay_s in ((client, cloud, 0.0), (cloud, client, self._delay_s)):
                threading.Thread(target=_carry, args=(source, sink, delay_s), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, delay_s: float) -> None:
    """An answer comes in one piece here, so that each piece is held back."""
    try:
        while data := source.recv(2**20):
            time.sleep(delay_s)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()


class Home:
    """A GPU_HOME of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environ = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "GPU_HOME": str(folder),
            "NO_COLOR": "1",
            "GPU_NOTIFY": "0",
        }

    def gpu(self, *arguments: str, env: Mapping[str, str]) -> str:
        """stdout of one run."""
        command = [GPU, *arguments]
        ran = subprocess.run(command, env={**self._environ, **env}, capture_output=True, text=True, check=False)
        if ran.returncode not in (0, 9):  # 9: `gpu gc` when a cloud does not answer
            raise SystemExit(f"gpu {' '.join(arguments)}: exit {ran.returncode}\n{ran.stderr}")
        return ran.stdout

    def fill(self, rows: int) -> None:
        """Deployments that ended an hour ago."""
        store, ended_at = Store(self.folder / "state" / "gpu.db").open(), time.time() - 3600
        for number in range(rows):
            store.add(ended(f"model-{number}", ended_at))
        store.close()


def main() -> None:
    """Measure, and print."""
    given = arguments()
    with ExitStack() as stack:
        home = Home(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-clouds-"))) / "home")
        clouds = [stack.enter_context(emulated(name)) for name in CLOUDS]
        direct = {name: value for cloud in clouds for name, value in cloud.env.items()}
        stack.callback(lambda: home.gpu("down", "--all", env=direct))
        home.fill(ROWS)
        launch(home, direct)
        slow, hanging = proxied(clouds, given.delay, ()), proxied(clouds, given.delay, (HANGING,))
        figures = [
            *(timed(home, what, *command, env=slow, runs=given.runs) for what, command in COMMANDS.items()),
            *(
                timed(home, f"{what}, {HANGING} hangs", *command, env=hanging, runs=1)
                for what, command in COMMANDS.items()
            ),
        ]
        chains = json.loads(home.gpu("plan", "llama-70b-fp8", "--json", env=slow))["providers"]
    chains_s = {name: chains[name]["seconds"] for name in CLOUDS}
    document = {"machine": machine(), "figures": [asdict(figure) for figure in figures], "chains_s": chains_s}
    print(json.dumps(document, indent=2) if given.json else f"{table(figures)}\n\n{in_words(chains_s, given.delay)}")


def arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--delay", type=float, default=0.3, help="seconds before each answer (0.3)")
    parser.add_argument("--runs", type=int, default=3, help="how often each command is run (3)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


@contextmanager
def emulated(name: str) -> Iterator[Cloud]:
    """A cloud of the tests, as a process."""
    command = [sys.executable, "-m", "tests.emulators", name, "--port", "0"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        try:
            yield Cloud(name, told["url"], told["env"])
        finally:
            process.terminate()


def launch(home: Home, env: Mapping[str, str]) -> None:
    """What then starts for an hour, since nothing of it ever answers."""
    recipe = home.folder / "bench.yaml"
    recipe.write_text(RECIPE)
    for cloud in CLOUDS:
        for number in range(LIVING):
            kind = ("--serverless",) if cloud == "modal" else ()
            name = f"{cloud}-{number}"
            home.gpu("up", str(recipe), "--provider", cloud, "--name", name, "--no-wait", "--ttl", "1h", *kind, env=env)


def proxied(clouds: Sequence[Cloud], delay_s: float, hanging: Sequence[str]) -> Mapping[str, str]:
    """The environment that points at all of them, each behind a proxy."""
    env: dict[str, str] = {}
    for cloud in clouds:
        proxy = Proxy(cloud.url, None if cloud.name in hanging else delay_s).start()
        env |= cloud.behind(proxy.url)
    return env


def timed(home: Home, what: str, *arguments: str, env: Mapping[str, str], runs: int) -> Figure:
    """After one run that does not count, unless there is only one."""
    if runs > 1:
        home.gpu(*arguments, env=env)
    return Figure.of(what, [seconds(lambda: home.gpu(*arguments, env=env)) for _ in range(runs)])


def in_words(chains_s: Mapping[str, float], delay_s: float) -> str:
    """What the offers of each cloud take by themselves."""
    chains = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in chains_s.items())
    return f"offers at {delay_s:.2f} s an answer: {chains}; in all {sum(chains_s.values()):.2f} s"


if __name__ == "__main__":
    main()
