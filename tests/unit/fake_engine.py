"""A stand-in for vLLM's HTTP server, run as a process: what it serves is read, on every request, from a JSON file.

`python fake_engine.py PORT SCRIPT`. The script's fields, all optional: `health` (status, 200), `models` (status, 200),
`metrics` (text; absent: an idle engine), `hang` (path that accepts and never answers), `ignore_term` and
`exit` (exit status, at start).
"""

import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def metrics_text(*, running: int = 0, waiting: int = 0, finished: int = 0, tokens: int = 0) -> str:
    """As vLLM 0.32 writes them, shortened; two labelled series where it has several."""
    labels = 'engine="0",model_name="tiny {x} y"'
    return (
        "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
        "# TYPE vllm:num_requests_running gauge\n"
        f"vllm:num_requests_running{{{labels}}} {running:.1f}\n"
        f"vllm:num_requests_waiting{{{labels}}} {waiting:.1f}\n"
        f"vllm:generation_tokens_total{{{labels}}} {tokens:.1f}\n"
        f"vllm:generation_tokens_created{{{labels}}} {time.time()}\n"
        f'vllm:request_success_total{{{labels},finished_reason="stop"}} {finished:.1f}\n'
        f'vllm:request_success_total{{{labels},finished_reason="abort"}} 0.0\n'
    )


class Handler(BaseHTTPRequestHandler):
    """Answers from the script; /health, /v1/models and /metrics only, and only with the key `sk-secret`."""

    script: Path

    def do_GET(self) -> None:
        script = json.loads(self.script.read_text())
        if script.get("hang") == self.path:
            time.sleep(60)
        if self.headers["Authorization"] != "Bearer sk-secret":
            self.reply(401, "")
        elif self.path == "/health":
            self.reply(script.get("health", 200), "")
        elif self.path == "/v1/models":
            self.reply(script.get("models", 200), "{}")
        else:
            self.reply(200, script.get("metrics", metrics_text()))

    def reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, *_: object) -> None:
        """Quiet."""


def main() -> None:
    port, script = int(sys.argv[1]), Path(sys.argv[2])
    options = json.loads(script.read_text())
    if options.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "exit" in options:
        sys.exit(options["exit"])
    Handler.script = script
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    sys.stdout.write("engine started\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
