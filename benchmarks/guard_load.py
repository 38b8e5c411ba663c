"""What the guard needs of a processor, with 100 deployments at four clouds.

    python benchmarks/guard_load.py                # some three minutes
    python benchmarks/guard_load.py --seconds 300
    python benchmarks/guard_load.py --json

Run it in a checkout, with the Python that `gpu` and what the tests need are installed in. The clouds are the emulators
of the tests, the deployments are on record as ready, and the engines of RunPod's answer with metrics as long as vLLM's.
The guard is the real one, as a process of its own: its time on the processor counts, once it has had time to start.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from clouds import CHECKOUT, emulated
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import ensure_guard, recorded_guard
from gpu_cli.fleet.recover import open_fleet
from gpu_cli.paths import Paths
from gpu_providers.base import LaunchRequest, Offer, Search, Secret
from overhead import ended, machine

AT = {"runpod": 60, "vast": 30, "lambda": 4, "modal": 6}
"""How many deployments, by cloud: Lambda takes one order in twelve seconds."""
LIMIT = 0.005
"""Of one core."""
METRICS = "\n".join(
    [
        'vllm:num_requests_running{engine="0"} 0.0',
        'vllm:num_requests_waiting{engine="0"} 0.0',
        *(f'vllm:{name}_total{{engine="0"}} 7.0' for name in ("request_success", "prompt_tokens", "generation_tokens")),
        *(f'vllm:time_to_first_token_seconds_bucket{{engine="0",le="{number}"}} 7.0' for number in range(900)),
    ]
)


class Engine(BaseHTTPRequestHandler):
    """Every path has the metrics of an idle engine."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(METRICS)))
        self.end_headers()
        self.wfile.write(METRICS.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        """Nothing."""


def main() -> None:
    """Measure, and print."""
    given = arguments()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-guard-load-")))
        clouds = [stack.enter_context(emulated(name)) for name in AT]
        environ = {name: value for cloud in clouds for name, value in cloud.env.items()}
        fleet = opened(home, {**os.environ, **environ, "GPU_RUNPOD_PROXY_URL": engine_url(), "GPU_NOTIFY": "0"})
        stack.enter_context(closing(fleet.store))
        for provider, count in AT.items():
            launch(fleet, provider, count)
        ensure_guard(fleet)
        guard = psutil.Process(recorded_guard(fleet.paths)[0])
        stack.callback(guard.wait)
        stack.callback(guard.terminate)
        time.sleep(given.warm_up)
        share = share_of_a_core(guard, given.seconds)
    document = {"machine": machine(), "deployments": sum(AT.values()), "share_of_a_core": share, "limit": LIMIT}
    words = f"the guard of {document['deployments']} deployments takes {share:.2%} of a core (limit {LIMIT:.1%})"
    print(json.dumps(document, indent=2) if given.json else words)


def arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="how long it is watched (120)")
    parser.add_argument("--warm-up", type=float, default=30.0, help="how long it runs before that (30)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def engine_url() -> str:
    """Of one engine for all, which ends with the process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def opened(home: Path, environ: Mapping[str, str]) -> Fleet:
    """A fleet with that home."""
    environ = {**environ, "GPU_HOME": str(home)}
    return open_fleet(Paths.from_environ(environ), environ, Clock(), print)


def launch(fleet: Fleet, provider_name: str, count: int) -> None:
    """So many at one cloud, on record as ready and used just now."""
    provider, now = fleet.provider(provider_name), time.time()
    offers = [offer for offer in provider.offers(Search(disk_gib=20)) if offer.gpu_count == 1]
    for number in range(count):
        offer = offers[number % len(offers)]
        made = provider.launch(request(f"gpu-{provider_name}-{number}", offer))
        base = ended(f"{provider_name}-{number}", now)
        deployment = replace(
            base,
            state=State.READY,
            provider=provider_name,
            kind=offer.kind,
            price_usd_per_hour=offer.price_usd_per_hour,
            idle_s=7200.0,
            deadline_at=now + 7200,
            start_deadline_at=now + 7200,
            resource_id=made.resource_id,
            endpoint=made.endpoint,
            launched_at=now,
            ready_at=now,
            ended_at=None,
            active_at=now,
            work_done=21.0,
            tied=False,
            own_stop_armed=True,
            account=provider.account(),
            reason="",
        )
        fleet.keys.create(deployment.resource_name)
        fleet.store.add(deployment)


def request(name: str, offer: Offer) -> LaunchRequest:
    """Of something that does nothing."""
    return LaunchRequest(
        name=name,
        offer=offer,
        image="vllm/vllm-openai:v0.32.0",
        entrypoint=("sleep",),
        command=("3600",),
        env={},
        secret_env={"VLLM_API_KEY": Secret("key")},
        port=8000,
        disk_gib=20,
        labels={"name": name},
        options={},
        idle_s=600.0,
        entry=CHECKOUT / "templates" / "modal_entry.py",
    )


def share_of_a_core(process: psutil.Process, for_s: float) -> float:
    """Its own time on the processor, in user and kernel mode, over so long."""
    before = process.cpu_times()
    time.sleep(for_s)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / for_s


if __name__ == "__main__":
    main()
