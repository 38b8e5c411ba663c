"""What the workers of an endpoint print, as the lines of one log."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress

from gpu_providers.errors import NotFound
from gpu_providers.runpod.client import RunPodClient
from gpu_providers.runpod.fields import text
from gpu_providers.runpod.log_lines import LogLine
from gpu_providers.runpod.pod_log import MOST_LINES


def endpoint_log(
    client: RunPodClient, endpoint_id: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
) -> Iterator[str]:
    """As the contract's `logs`, every line with its worker's id before it. Workers come and go, and with them their
    logs, so these are looked for every `poll_s`.
    """
    log = _Log(client, endpoint_id)
    lines = log.new_lines()
    yield from lines if tail is None else lines[max(0, len(lines) - tail) :]
    with suppress(NotFound):
        while follow and not stop():
            time.sleep(poll_s)
            yield from log.new_lines()


class _Log:
    """Read in several goes, each line once."""

    def __init__(self, client: RunPodClient, endpoint_id: str) -> None:
        self._client = client
        self._endpoint_id = endpoint_id
        self._newest: dict[str, set[LogLine]] = defaultdict(set)
        """By worker, those of the latest moment so far: a reading that begins there brings them again."""

    def new_lines(self) -> list[str]:
        """In the order of their time. Raises NotFound when the endpoint is gone."""
        found = [
            (line.ts, f"{worker_id}: {line.line}")
            for worker in self._client.workers(self._endpoint_id)
            if (worker_id := text(worker, "id"))
            for line in self._new_of(worker_id)
        ]
        return [line for _, line in sorted(found, key=lambda both: both[0])]

    def _new_of(self, worker_id: str) -> list[LogLine]:
        known = self._newest[worker_id]
        since = next((line.ts for line in known), None)
        try:
            read = self._client.worker_logs(
                self._endpoint_id, worker_id, source="container", tail=MOST_LINES, since=since
            )
            new = [line for line in read if line not in known]
        except NotFound:  # the worker has been scaled down
            return []
        if new:
            self._newest[worker_id] = {line for line in (*known, *new) if line.ts == new[-1].ts}
        return new
