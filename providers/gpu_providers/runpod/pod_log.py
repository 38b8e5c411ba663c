"""What a pod's command prints, as lines: all there is so far, and on request what comes after it."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from gpu_providers.errors import NotFound, ProviderError
from gpu_providers.runpod.client import RunPodClient
from gpu_providers.runpod.log_lines import LogLine
from gpu_providers.runpod.pod_answers import is_gone

MOST_LINES = 5000
"""RunPod gives no more at once."""


def pod_log(
    client: RunPodClient, pod_id: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
) -> Iterator[str]:
    """As the contract's `logs`. A stream outlives its pod, so that is looked at every `poll_s` as well."""
    log = _Log(client, pod_id)
    yield from log.new_lines(tail=MOST_LINES if tail is None else tail)
    if not follow:
        return
    is_gone = _every(poll_s, lambda: _is_gone(client, pod_id))
    with suppress(NotFound):
        yield from log.new_lines(follow=True, stop=lambda: stop() or is_gone())
        if not stop():
            yield from log.new_lines()  # its last words


class _Log:
    """The log of one pod, read in several goes, each line once."""

    def __init__(self, client: RunPodClient, pod_id: str) -> None:
        self._client = client
        self._pod_id = pod_id
        self._newest: set[LogLine] = set()
        """Those of the latest moment so far: a reading that begins there brings them again."""

    def new_lines(
        self, *, tail: int = MOST_LINES, follow: bool = False, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[str]:
        known = self._newest
        since = next((line.ts for line in known), None)
        read = self._client.pod_logs(self._pod_id, source="container", tail=tail, since=since, follow=follow, stop=stop)
        for line in read:
            if line not in known:
                self._newest = {line, *(other for other in self._newest if other.ts == line.ts)}
                yield line.line


def _is_gone(client: RunPodClient, pod_id: str) -> bool:
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
