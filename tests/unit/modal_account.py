"""What tests of Modal as a provider have in common: the provider as a user has it, and a launch of the fleet."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emulators.modal_cloud import ModalEmulator

from gpu_providers.base import Kind, LaunchRequest, Offer, ProviderContext, Resource, Search, Secret
from gpu_providers.modal_cloud.provider import POLL_VARIABLE, ModalProvider

ENTRY = Path(__file__).parents[2] / "templates" / "modal_entry.py"
ENGINE = """
import http.server, os, sys, time

class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            print("RuntimeError: CUDA error: an illegal memory access was encountered", flush=True)
            os._exit(7)
        if self.path == "/hold":
            time.sleep(600)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[-1])), Engine)
print("conformance: up", flush=True)
server.serve_forever()
"""
"""Serves; it dies of a request for `/die`, and works for long on one for `/hold`."""


def provider_at(cloud: ModalEmulator, folder: Path, **environ: str) -> ModalProvider:
    """The provider as a user has it, with patience for a cloud on this very machine."""
    return ModalProvider(ProviderContext(folder / "modal", {POLL_VARIABLE: "0.1", **cloud.env, **environ}))


def offer_of(provider: ModalProvider, gpu: str = "H100", *, count: int = 1, **search: Any) -> Offer:
    """One of so many of this card."""
    return next(each for each in provider.offers(Search(**search)) if (each.gpu, each.gpu_count) == (gpu, count))


def request_of(offer: Offer, name: str = "gpu-test-1", **changes: Any) -> LaunchRequest:
    """A launch as the fleet makes it, of a small engine."""
    usual: dict[str, Any] = {
        "image": "vllm/vllm-openai:v0.32.0",
        "entrypoint": (sys.executable,),
        "command": ("-c", ENGINE, "--port", "8000"),
        "env": {},
        "secret_env": {"VLLM_API_KEY": Secret("sk-of-the-engine")},
        "port": 8000,
        "disk_gib": 0,
        "labels": {
            "name": "llama",
            "recipe": "llama-8b",
            "kind": "serverless",
            "gpu": offer.gpu,
            "gpu_count": str(offer.gpu_count),
            "region": offer.region,
            "deadline_at": "1800000000.5",
        },
        "options": {},
        "idle_s": 900.0,
        "start_s": 60.0,
        "entry": ENTRY,
    }
    return LaunchRequest(name=name, offer=offer, **{**usual, **changes})


@contextmanager
def asking(provider: ModalProvider, resource: Resource, path: str) -> Iterator[None]:
    """A request is on its way, and is hung up on at the end."""
    token, at = provider.edge_key(Kind.SERVERLESS, resource.name), urlsplit(resource.endpoint)
    assert token
    with socket.create_connection((at.hostname or "", at.port or 0)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token.reveal()}\r\n\r\n".encode())
        yield
