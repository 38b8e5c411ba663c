"""One HTTP client for all clouds: bounded in time, patient with safe requests, careful with all others.

GET and DELETE may be sent twice without harm, so they are tried again; anything else is sent once. An answer comes
back whatever its status: what a cloud means by it is for that cloud's own module to say. No error text here holds a
header, a query or a body.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from gpu_providers.base import Secret
from gpu_providers.errors import ProviderUnavailable, RateLimited
from gpu_providers.values import parsed

if TYPE_CHECKING:  # as long to import as a process takes to start; most commands call no cloud
    import httpx

CONNECT_S = 5.0
CALL_S = 15.0
"""What a safe request may take, all its tries and pauses together, until its last answer begins to come."""
SEND_S = 60.0
"""What any other may take: clouds make a resource while the caller waits."""
PAUSES_S = (0.5, 1.5)
"""Between the tries of a safe request."""
PATIENCE_S = 10.0
"""How long to wait after a 429 that does not say."""
_BODY_BYTES = 32 * 2**20
_TICK_S = 0.1
_NETWORK = "check the network and the proxy settings (HTTPS_PROXY, NO_PROXY), then try again"
_ENVIRONMENT = "correct HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE; a SOCKS proxy needs the Python package socksio"
_LATER = "try again later; if it stays so, something between here and the cloud answers in its place"


class OutcomeUnknown(ProviderUnavailable):
    """It was sent, or may have been, and no complete answer came: what it asked for may be done, or yet happen."""


@cache
def user_agent() -> str:
    """What we call ourselves: some clouds' edges block the names of HTTP libraries."""
    from importlib.metadata import version

    return f"gpu-cli/{version('gpu-up')}"


@dataclass(frozen=True)
class Request:
    """What is asked of a cloud."""

    method: str
    url: str
    key: Secret | None
    """Sent as bearer token; None for what is no business of the cloud's API."""
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    """Sent as JSON; may hold secrets."""

    def __str__(self) -> str:
        """For error texts: without user and query, in which a URL may hold a key."""
        return f"{self.method} {re.sub(r'^[a-z]+://([^/@]*@)?|[?].*', '', self.url)}"


@dataclass(frozen=True)
class Answer:
    """A complete answer, whatever its status."""

    request: Request
    status: int
    content_type: str
    text: str = field(repr=False)
    """May hold secrets: clouds show the environment of what they run."""
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names in lower case."""

    @property
    def is_success(self) -> bool:
        """A status of 200 to 299."""
        return 200 <= self.status < 300

    @property
    def is_transient(self) -> bool:
        """Whether the same request may well get another answer a moment later."""
        return self.status == 429 or self.status >= 500 or (self.is_success and not self._is_sound())

    def json(self) -> Any:
        """The document in it. Raises ProviderUnavailable when there is none."""
        try:
            return parsed(self.text)
        except ValueError:
            what = "a web page" if "html" in self.content_type else "broken JSON" if self.text else "nothing"
            raise ProviderUnavailable(f"{self.request}: the answer ({self.status}) is {what}", hint=_LATER) from None

    def _is_sound(self) -> bool:
        try:
            parsed(self.text or "null")
        except ValueError:
            return False
        return True


class TooManyRequests(RateLimited):
    """A 429, with the answer: what it limits is for the cloud's own module to say."""

    def __init__(self, answer: Answer) -> None:
        wait_s = PATIENCE_S if answer.retry_after_s is None else answer.retry_after_s
        super().__init__(
            f"{answer.request}: too many requests (429)",
            hint=f"try again in {wait_s:.0f} seconds",
            retry_after_s=wait_s,
        )
        self.answer = answer


def asked_pause_s(answer: Answer) -> float | None:
    """How long an answer asks to wait before the same request is sent again; None when that would change nothing."""
    return (answer.retry_after_s or 0.0) if answer.is_transient else None


class Http:
    """Sends requests; safe to share between threads. It follows no redirect, so a key goes to no other host."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.clock = clock
        self.sleep = sleep

    def safely(
        self,
        request: Request,
        *,
        call_s: float = CALL_S,
        pause_s: Callable[[Answer], float | None] = asked_pause_s,
        turn: Callable[[], object] = lambda: None,
    ) -> Answer:
        """For requests that may be sent twice without harm: tried again while the cloud is out of order or busy.

        `pause_s` is for a cloud that has ways of its own to say for how long, or that it is in vain; `turn` waits
        before each try, for a cloud that limits how often it is asked; the request leaves at once when it is over.
        Raises ProviderUnavailable when no complete answer came, TooManyRequests when the wait would take too long.
        """
        deadline = self.clock() + call_s
        pauses = iter(PAUSES_S)
        _ = self._client  # making one takes a while, which would be a delay after the first turn
        while True:
            turn()
            outcome = self._try(request, deadline)
            asked_s = pause_s(outcome) if isinstance(outcome, Answer) else 0.0
            wait_s = _longer(asked_s, next(pauses, None))
            if wait_s is None or self.clock() + wait_s >= deadline:
                return _settled(outcome)
            self.sleep(wait_s)

    def once(self, request: Request, *, call_s: float = SEND_S) -> Answer:
        """For requests that change something.

        Raises OutcomeUnknown when no complete answer came, any other ProviderUnavailable when it cannot have been
        sent, TooManyRequests when it was turned away.
        """
        return _settled(self._exchange(request, self.clock() + call_s))

    @contextmanager
    def opened(self, request: Request, *, wait_s: float) -> "Iterator[httpx.Response]":
        """The answer with its body yet to be read. `wait_s` bounds each wait for the cloud, not their sum.

        Raises as `once`, while its body is read too.
        """
        import httpx

        key = {"Authorization": f"Bearer {request.key.reveal()}"} if request.key else {}
        try:
            with self._client.stream(
                request.method,
                request.url,
                params=request.params or None,
                headers={**request.headers, **key},
                json=request.body,
                timeout=httpx.Timeout(wait_s, connect=min(CONNECT_S, wait_s)),
            ) as response:
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise ProviderUnavailable(f"{request}: no connection: {_reason(error)}", hint=_NETWORK) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise ProviderUnavailable(f"{request}: this is no URL", hint="correct the address of the API") from None
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"{request}: {_reason(error)}", hint=_NETWORK) from None

    def read(self, request: Request, response: "httpx.Response", deadline: float) -> Answer:
        """The whole of an opened answer. Raises OutcomeUnknown when it is too long or late."""
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if self.clock() > deadline or len(body) > _BODY_BYTES:
                raise OutcomeUnknown(f"{request}: the answer does not end", hint=_LATER)
        retry_after = response.headers.get("Retry-After", "")
        return Answer(
            request=request,
            status=response.status_code,
            content_type=response.headers.get("Content-Type", ""),
            text=body.decode(errors="replace"),
            retry_after_s=float(retry_after) if re.fullmatch(r"\d{1,6}", retry_after) else None,
            headers={name.lower(): value for name, value in response.headers.items()},
        )

    def _try(self, request: Request, deadline: float) -> Answer | ProviderUnavailable:
        try:
            return self._exchange(request, deadline)
        except ProviderUnavailable as error:
            return error

    def _exchange(self, request: Request, deadline: float) -> Answer:
        with self.opened(request, wait_s=max(deadline - self.clock(), _TICK_S)) as response:
            return self.read(request, response, deadline)

    @cached_property
    def _client(self) -> "httpx.Client":
        """Nobody closes a provider, so no connection outlives its answer."""
        import httpx

        headers = {"User-Agent": user_agent(), "Accept": "application/json"}
        try:
            return httpx.Client(headers=headers, limits=httpx.Limits(max_keepalive_connections=0))
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:  # not quoted: a proxy has a password
            what = f"the environment's proxy or certificates cannot be used ({type(error).__name__})"
            raise ProviderUnavailable(what, hint=_ENVIRONMENT) from None


def _longer(asked_s: float | None, pause_s: float | None) -> float | None:
    """How long until the next try; None when there is to be none."""
    return None if asked_s is None or pause_s is None else max(asked_s, pause_s)


def _settled(outcome: Answer | ProviderUnavailable) -> Answer:
    if isinstance(outcome, ProviderUnavailable):
        raise outcome
    if outcome.status == 429:
        raise TooManyRequests(outcome)
    return outcome


def _reason(error: Exception) -> str:
    """In words of ours where the library's could quote what was sent."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return str(error) or "refused"
    return f"the connection broke ({type(error).__name__})"
