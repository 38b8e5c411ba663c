"""What a pod prints, and the workers of an endpoint: all there is so far, and on request what comes after it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from gpu_providers.errors import NotFound, ProviderError
from gpu_providers.runpod.client import RunPodClient
from gpu_providers.runpod.log_lines import MOST_LINES, LogLine, LogQuery
from gpu_providers.runpod.pod_answers import is_gone
from gpu_providers.values import text

_PRINTED = LogQuery(source="container")


def pod_log(
    client: RunPodClient, pod_id: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
) -> Iterator[str]:
    """As the contract's `logs`. A stream outlives its pod, so that is looked at every `poll_s` as well."""
    log = _Log(partial(client.pod_logs, pod_id))
    lines = MOST_LINES if tail is None else tail
    yield from log.new_lines(replace(_PRINTED, tail=lines))
    if not follow:
        return
    is_over = _every(poll_s, lambda: _is_over(client, pod_id))
    coming = replace(_PRINTED, tail=MOST_LINES if lines else 0)
    with suppress(NotFound):
        yield from log.new_lines(replace(coming, follow=True, stop=lambda: stop() or is_over()))
        if not stop():
            yield from log.new_lines(coming)  # its last words


def endpoint_log(
    client: RunPodClient, endpoint_id: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
) -> Iterator[str]:
    """As the contract's `logs`, every line with its worker's id before it. Workers come and go, and with them their
    logs, so these are looked for every `poll_s`.
    """
    log = _WorkerLogs(client, endpoint_id)
    lines = log.new_lines()
    yield from lines if tail is None else lines[max(0, len(lines) - tail) :]
    with suppress(NotFound):
        while follow and not stop():
            time.sleep(poll_s)
            yield from log.new_lines()


class _Log:
    """One log, read in several goes, each line once."""

    def __init__(self, read: Callable[[LogQuery], Iterator[LogLine]]) -> None:
        self._read = read
        self._newest: set[LogLine] = set()
        """Those of the latest moment so far: a reading that begins there brings them again."""

    def new_lines(self, query: LogQuery) -> Iterator[str]:
        return (line.line for line in self.new(query))

    def new(self, query: LogQuery) -> Iterator[LogLine]:
        known = self._newest
        since = next((line.ts for line in known), "")
        for line in self._read(replace(query, since=since)):
            if line not in known:
                self._newest = {line, *(other for other in self._newest if other.ts == line.ts)}
                yield line


class _WorkerLogs:
    """The logs of all workers of an endpoint as one."""

    def __init__(self, client: RunPodClient, endpoint_id: str) -> None:
        self._client = client
        self._endpoint_id = endpoint_id
        self._logs: dict[str, _Log] = {}

    def new_lines(self) -> Sequence[str]:
        """In the order of their time. Raises NotFound when the endpoint is gone."""
        found = [
            (line.ts, f"{worker_id}: {line.line}")
            for worker in self._client.workers(self._endpoint_id)
            if (worker_id := text(worker, "id"))
            for line in self._new_of(worker_id)
        ]
        return [line for _, line in sorted(found, key=lambda both: both[0])]

    def _new_of(self, worker_id: str) -> Sequence[LogLine]:
        read = partial(self._client.worker_logs, self._endpoint_id, worker_id)
        with suppress(NotFound):  # the worker has been scaled down
            return list(self._logs.setdefault(worker_id, _Log(read)).new(_PRINTED))
        return ()


def _is_over(client: RunPodClient, pod_id: str) -> bool:
    """Only by RunPod's own word."""
    with suppress(ProviderError):
        try:
            return is_gone(client.pod(pod_id))
        except NotFound:
            return True
    return False


def _every(seconds: float, ask: Callable[[], bool]) -> Callable[[], bool]:
    """The latest answer, asked for anew when it is older than this; False before the first."""
    asked_at, answer = time.monotonic(), False

    def latest() -> bool:
        nonlocal asked_at, answer
        if not answer and time.monotonic() - asked_at >= seconds:
            asked_at, answer = time.monotonic(), ask()
        return answer

    return latest
