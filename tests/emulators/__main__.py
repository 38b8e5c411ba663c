"""A cloud on loopback, by hand: `python -m tests.emulators runpod --port 8080`.

When it listens it prints one line of JSON, `{"url", "env"}`: the environment that points `gpu` at it. It runs until
SIGINT or SIGTERM, and then ends what runs in it; its status is 1 when a request or an answer broke the cloud's OpenAPI
file. `GET {url}/_emulator/bill` tells what was spent.
"""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from .cloud import Cloud
from .engines import Engine
from .misbehaviour import WHATS, read
from .runpod import RunPodEmulator

CLOUDS: dict[str, type[Cloud]] = {"runpod": RunPodEmulator}


def arguments() -> argparse.ArgumentParser:
    whats = "\n".join(f"  {what:17} {meaning.meaning} (call: {meaning.call})" for what, meaning in WHATS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulators",
        description="An emulated cloud on loopback.",
        epilog=f"What a rule can do:\n{whats}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cloud", choices=CLOUDS)
    parser.add_argument("--port", type=int, default=0, help="0, the default: any free one")
    parser.add_argument("--engine", choices=list(Engine), default=Engine.NONE, help="what runs behind a pod")
    parser.add_argument("--misbehave", type=Path, metavar="FILE", help="rules, as JSON or YAML")
    parser.add_argument("--speed", type=float, default=1.0, help="seconds of the cloud in one of ours")
    return parser


def main() -> None:
    told = arguments().parse_args()
    stopped = threading.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: stopped.set())
    rules = read(told.misbehave) if told.misbehave else ()
    cloud = CLOUDS[told.cloud](port=told.port, engine=told.engine, speed=told.speed, misbehave=rules)
    if reason := cloud.conformance.skipped:
        sys.stderr.write(f"nothing is checked against the cloud's OpenAPI file: {reason}\n")
    try:
        with cloud:
            sys.stdout.write(json.dumps({"url": cloud.url, "env": cloud.env}) + "\n")
            sys.stdout.flush()
            stopped.wait()
    except AssertionError as violations:
        sys.exit(str(violations))


if __name__ == "__main__":
    main()
