"""A cloud on loopback, by hand: `python -m tests.emulators runpod --port 8080`.

When it listens it prints one line of JSON, `{"url", "env"}`: the environment that points `gpu` at it. It runs until
SIGINT or SIGTERM, and then ends what runs in it; its status is 1 when a request or an answer broke the cloud's OpenAPI
file, and 2 when it could not start. `GET {url}/_emulator/bill` tells what was spent.
"""

import argparse
import json
import math
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from .cloud import Cloud
from .engines import Engine
from .lambda_cloud import LambdaEmulator
from .misbehaviour import WHATS, read
from .modal_cloud import ModalEmulator
from .runpod import RunPodEmulator
from .vast import VastEmulator

CLOUDS: dict[str, type[Cloud]] = {
    "runpod": RunPodEmulator,
    "vast": VastEmulator,
    "lambda": LambdaEmulator,
    "modal": ModalEmulator,
}
WIDTH = max(map(len, WHATS))


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> Parser:
    made = Parser(
        prog="python -m tests.emulators",
        description="An emulated cloud on loopback.",
        epilog="\n".join(["What a rule can do:", *map(_explained, WHATS)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("cloud", choices=CLOUDS)
    made.add_argument("--port", type=_port, default=0, help="0, the default: any free one")
    made.add_argument("--engine", choices=[*map(str, Engine)], default=str(Engine.NONE), help="what runs in containers")
    made.add_argument("--misbehave", type=_rules, default=(), metavar="FILE", help="rules, as JSON or YAML")
    made.add_argument("--speed", type=_speed, default=1.0, help="seconds of the cloud in one of ours")
    return made


def _explained(what: str) -> str:
    """With the clouds that can do it, where not all of them can."""
    clouds = [name for name, cloud in CLOUDS.items() if what in cloud.WORDS]
    only = "" if len(clouds) == len(CLOUDS) else f"; {', '.join(clouds)}"
    return f"  {what:{WIDTH}} {WHATS[what].meaning} (call: {WHATS[what].call}{only})"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return speed


def _rules(path: str) -> list[Mapping[str, Any]]:
    try:
        return read(Path(path))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def main() -> None:
    told = parser().parse_args()
    stopped = threading.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: stopped.set())
    try:
        cloud = CLOUDS[told.cloud](port=told.port, engine=told.engine, speed=told.speed, misbehave=told.misbehave)
    except ValueError as error:
        parser().error(f"--misbehave: {error}")
    if reason := cloud.conformance.skipped:
        sys.stderr.write(f"nothing is checked against the cloud's OpenAPI file: {reason}\n")
    try:
        cloud.start()
    except OSError as error:
        parser().error(f"port {told.port}: {error.strerror}")
    try:
        _serve(cloud, stopped)
    finally:
        cloud.stop()
    try:
        cloud.conformance.complain()
    except AssertionError as violations:
        sys.exit(str(violations))


def _serve(cloud: Cloud, stopped: threading.Event) -> None:
    sys.stdout.write(json.dumps({"url": cloud.url, "env": cloud.env}) + "\n")
    sys.stdout.flush()
    stopped.wait()


if __name__ == "__main__":
    main()
