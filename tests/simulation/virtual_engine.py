"""An engine that only pretends: vLLM's routes, answered at once, by the time of the simulation."""

import json
import math
from collections.abc import Callable, Mapping, Sequence

from emulators.server import Request, Response, json_response
from scheduler import Scheduler

_DIED = 1
TOKENS_PER_S = 10.0

Status = tuple[float, Mapping[str, object]]
"""When the supervisor has written it, and what."""


class Engine:
    """Serves from `ready_at` on, and counts work that it is told of. For the supervisor it is its engine's process."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        load_s: float,
        command: Sequence[str],
        environ: Mapping[str, str],
        status: Callable[[], Status] = lambda: (0.0, {}),
    ) -> None:
        self.pid = 1
        self.exit: int | None = None
        self.ready_at = scheduler.now + load_s
        self.dies_at = math.inf
        self.work: list[tuple[float, float]] = []
        """From when to when each request runs."""
        self._scheduler = scheduler
        self._command = command
        self._environ = environ
        self._status = status

    def reap(self) -> None:
        """It may have died meanwhile."""
        if self.exit is None and self._scheduler.now >= self.dies_at:
            self.exit = _DIED

    def stop(self, _grace_s: float, **_: object) -> bool:
        """It does not resist."""
        self.exit = self.exit or 0
        return True

    def serve_for(self, seconds: float) -> None:
        """One request that takes so long."""
        self.work.append((self._scheduler.now, self._scheduler.now + seconds))

    @property
    def listens(self) -> bool:
        return self.exit is None and self.ready_at <= self._scheduler.now < self.dies_at

    def answer(self, request: Request) -> Response:
        """What vLLM behind the guard middleware says; without a key of its own its edge has checked that."""
        if request.bearer != self._environ.get("VLLM_API_KEY", request.bearer):
            return json_response({"error": "unauthorized"}, 401)
        answers: Mapping[str, Callable[[], Response]] = {
            "/health": Response,
            "/v1/models": lambda: json_response({"data": [{"id": self._model()}]}),
            "/v1/completions": lambda: json_response({"choices": [{"text": " Paris"}]}),
            "/metrics": lambda: Response(200, self._metrics().encode(), {"Content-Type": "text/plain"}),
            "/_gpu/supervisor": self._supervisor,
        }
        found = answers.get(request.path)
        return found() if found else json_response({"error": "no such route"}, 404)

    def _model(self) -> str:
        return self._command[self._command.index("--served-model-name") + 1]

    def _metrics(self) -> str:
        now = self._scheduler.now
        tokens = sum(TOKENS_PER_S * max(0.0, min(now, end) - begin) for begin, end in self.work)
        samples = {
            "num_requests_running": sum(1 for begin, end in self.work if begin <= now < end),
            "num_requests_waiting": 0,
            "request_success_total": sum(1 for _, end in self.work if end <= now),
            "prompt_tokens_total": tokens,
            "generation_tokens_total": tokens,
        }
        return "".join(f"vllm:{name} {value}\n" for name, value in samples.items())

    def _supervisor(self) -> Response:
        written_at, document = self._status()
        if not document:
            return json_response({"error": "no supervisor status here"}, 404)
        return json_response(json.loads(json.dumps({**document, "beat_age_s": self._scheduler.now - written_at})))
