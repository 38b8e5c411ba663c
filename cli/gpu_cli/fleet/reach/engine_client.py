"""Talking to a running engine: is it there, does it answer, does it have work?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gpu_cli import __version__
from gpu_cli.fleet.gauges.exposition import BadMetrics, Samples, read_samples
from gpu_cli.fleet.gauges.readings import Reading, reading_of
from gpu_providers.base import Secret

if TYPE_CHECKING:
    import ssl

    import httpx

# httpx takes longer to import than a process takes to start, so it is imported where it is used: for `gpu up` and
# the guard that is while the engine loads.

T = TypeVar("T")

USER_AGENT = f"gpu-cli/{__version__}"
"""Edges in front of endpoints refuse those of programming languages as bots."""
CANARY_PROMPT = "The capital of France is"
GATEWAYS = (502, 504)
"""What stands between says so, such as the guard's forwarder while a tunnel is made anew; vLLM itself says neither."""


@dataclass(frozen=True)
class Work:
    """What the engine says of its work (`/metrics`)."""

    running: float
    waiting: float
    done: float
    """Requests that ended and tokens, added up; only its changes mean anything."""


class EngineUnreachable(Exception):
    """No answer, or one that is no engine's. Says nothing about whether it lives."""


class EngineRefused(Exception):
    """The engine answered, and not as it should; the text says how."""


class EngineClient:
    """One endpoint, with its key; with `certificate`, only if whoever answers there proves to hold exactly that one.

    Over plain HTTP, proxies of the environment are not used: they would see the key. A bare port on a rented machine,
    for which the certificates are, is reached without them too: proxies seldom let one through.

    Redirects are followed, as those of an edge to what it will have to say later; to another host without the key.
    """

    def __init__(self, endpoint: str, key: Secret, *, certificate: Path | None = None, timeout_s: float = 5.0) -> None:
        import httpx

        secure = not endpoint.startswith("http://")
        self._client = httpx.Client(
            base_url=endpoint,
            headers={"Authorization": f"Bearer {key.reveal()}", "User-Agent": USER_AGENT},
            timeout=timeout_s,
            follow_redirects=True,
            verify=_pinned(certificate) if certificate else secure,  # the web's certificates take long to load
            trust_env=certificate is None and secure,
        )

    def __enter__(self) -> "EngineClient":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def is_healthy(self, *, held_s: float = 0.0) -> bool:
        """Whether `/health` says 200. It can with a dead engine: only a completion proves life.

        An edge may hold the request for `held_s`, until there is somebody to answer it.
        """
        import httpx

        usual = self._client.timeout
        try:
            self._get("GET", "/health", timeout=httpx.Timeout(usual.connect, read=max(usual.read or 0.0, held_s)))
        except (EngineUnreachable, EngineRefused):
            return False
        return True

    def models(self) -> tuple[str, ...]:
        """The names that it serves."""
        listed = self._json("GET", "/v1/models").get("data", [])
        return tuple(str(model["id"]) for model in listed)

    def complete(self, model: str, *, timeout_s: float) -> str:
        """A few tokens of one completion. Raises EngineRefused when they do not come."""
        request = {"model": model, "prompt": CANARY_PROMPT, "max_tokens": 2, "temperature": 0}
        answer = self._json("POST", "/v1/completions", json=request, timeout=timeout_s)
        try:
            return str(answer["choices"][0]["text"])
        except (KeyError, IndexError, TypeError):
            raise EngineRefused("the completion has no text") from None

    def work(self) -> Work:
        """What it is doing now."""
        return self._told(work_of)

    def reading(self, now: Callable[[], float]) -> Reading:
        """All that is judged of what it says of itself, at the time when it came."""
        return self._told(lambda samples: reading_of(samples, now()))

    def supervisor(self) -> Mapping[str, Any]:
        """The status that the supervisor on the node writes, served by the guard middleware."""
        return self._json("GET", "/_gpu/supervisor")

    def _told(self, of: Callable[[Samples], T]) -> T:
        answer = self._get("GET", "/metrics").text
        try:
            return of(read_samples(answer))
        except BadMetrics as error:
            raise EngineRefused(f"/metrics {error}") from None

    def _json(self, method: str, path: str, **options: Any) -> Mapping[str, Any]:
        try:
            answer = self._get(method, path, **options).json()
        except ValueError:
            raise EngineRefused(f"{path} did not answer with JSON") from None
        if not isinstance(answer, dict):
            raise EngineRefused(f"{path} did not answer with an object")
        return answer

    def _get(self, method: str, path: str, **options: Any) -> "httpx.Response":
        import httpx

        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise EngineUnreachable(f"{path}: {type(error).__name__}") from error
        if response.status_code != httpx.codes.OK:
            said = f"{path} answered {response.status_code}: {response.text[:300]}"
            raise EngineUnreachable(said) if response.status_code in GATEWAYS else EngineRefused(said)
        return response


def _pinned(certificate: Path) -> "ssl.SSLContext":
    from gpu_cli.fleet.certificates import pinned_context

    return pinned_context(certificate)


_DONE = ("vllm:request_success_total", "vllm:prompt_tokens_total", "vllm:generation_tokens_total")


def work_of(samples: Samples) -> Work:
    """Raises BadMetrics when the gauges are missing."""
    return Work(
        running=samples.needed("vllm:num_requests_running"),
        waiting=samples.needed("vllm:num_requests_waiting"),
        # A request whose client hangs up shows in the tokens only (vLLM 0.32).
        done=sum(map(samples.needed, _DONE)),
    )
