"""A deployment of the small model, seen from outside."""

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import openai
import psutil
from driver import Gpu, Ran

RECIPE = "smollm2-135m"
QUESTION = "What is the capital of France?"
PATIENCE_S = 120.0

GENERATION = {"model": RECIPE, "prompt": QUESTION, "max_tokens": 1}
ROUTES = (
    *(("GET", path, None) for path in ("/health", "/metrics", "/docs", "/openapi.json", "/version", "/v1/models")),
    *(("POST", path, GENERATION) for path in ("/v1/completions", "/invocations", "/tokenize")),
)
"""Method, path and body of what the engine answers, whether or not it has to do with models."""


def bring_up(gpu: Gpu, *flags: str) -> Ran:
    """`gpu up` of the small model, which has to work."""
    up = gpu("up", RECIPE, *flags)
    assert up.exit == 0, up.stderr
    return up


def client_of(gpu: Gpu) -> openai.OpenAI:
    """For the only deployment, with its key."""
    variables = gpu("env", "--json").json
    return openai.OpenAI(base_url=variables["OPENAI_BASE_URL"], api_key=variables["OPENAI_API_KEY"], max_retries=0)


def ask(client: openai.OpenAI) -> str:
    """The answer to the question, the same every time."""
    answer = client.chat.completions.create(
        model=RECIPE, messages=[{"role": "user", "content": QUESTION}], max_tokens=20, temperature=0
    )
    return str(answer.choices[0].message.content)


def port_of(base_url: str) -> int:
    """Where it listens."""
    port = urlsplit(base_url).port
    assert port is not None
    return port


def listens(port: int) -> bool:
    """Whether anything takes connections there; the engine does not count one as a request."""
    with socket.socket() as caller:
        caller.settimeout(5)
        return caller.connect_ex(("127.0.0.1", port)) == 0


def is_free(port: int) -> bool:
    """Whether a server could be started on it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def left_of(gpu: Gpu) -> list[psutil.Process]:
    """Supervisors, engines and their workers."""
    return [process for process in gpu.processes() if process != gpu.guard()]


def wait_calmly(done: Callable[[], object]) -> None:
    """Fails when it does not come true in time; looks seldom, since looking at processes takes time from the engine."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < give_up_at, f"did not happen within {PATIENCE_S:g} s"
        time.sleep(0.5)


def assert_nothing_is_left(gpu: Gpu, port: int) -> None:
    """No process but the guard, and nothing that listens."""
    assert left_of(gpu) == []
    assert is_free(port)
