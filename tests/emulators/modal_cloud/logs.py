"""What apps have said: every line of their containers, of each with the time, and who said it.

Sources: the installed SDK (_logs.py, _logs_manager.py). The times are those of this machine, whatever the speed of the
cloud: the client asks for "the last hour" by its own clock.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

POLL_S = 0.05
STDOUT, STDERR = api_pb2.FILE_DESCRIPTOR_STDOUT, api_pb2.FILE_DESCRIPTOR_STDERR
SYSTEM = api_pb2.FILE_DESCRIPTOR_INFO
COUNTED = {STDOUT: "stdout_logs", STDERR: "stderr_logs", SYSTEM: "system_logs"}
Asked = api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest | api_pb2.AppGetLogsRequest


@dataclass(frozen=True)
class Line:
    """One line, with its newline."""

    at: float
    text: str
    source: int
    app_id: str
    function_id: str
    task_id: str

    def as_batch(self, entry_id: str = "") -> api_pb2.TaskLogsBatch:
        item = api_pb2.TaskLogs(
            data=self.text,
            timestamp=self.at,
            timestamp_ns=int(self.at * 1e9),
            file_descriptor=self.source,
            container_id=self.task_id,
        )
        return api_pb2.TaskLogsBatch(
            task_id=self.task_id, function_id=self.function_id, items=[item], entry_id=entry_id
        )


class Logs:
    """Lines may be added from any thread; the RPCs are called in the server's loop."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._done: set[str] = set()

    def say(self, app_id: str, function_id: str, task_id: str, text: str, source: int = STDOUT) -> None:
        """One line of a container, without its newline."""
        self._lines.append(Line(time.time(), f"{text}\n", source, app_id, function_id, task_id))

    def finish(self, app_id: str) -> None:
        """Nothing more will come: whoever follows is told so."""
        self._done.add(app_id)

    def AppFetchLogs(self, request: api_pb2.AppFetchLogsRequest) -> api_pb2.AppFetchLogsResponse:  # noqa: N802
        """The newest of the period, oldest first."""
        found = [line for line in self._of(request) if _within(line, request.since, request.until)]
        return api_pb2.AppFetchLogsResponse(batches=[line.as_batch() for line in found[-request.limit :]])

    def AppCountLogs(self, request: api_pb2.AppCountLogsRequest) -> api_pb2.AppCountLogsResponse:  # noqa: N802
        buckets: dict[int, api_pb2.AppCountLogsResponse.LogBucket] = {}
        for line in self._of(request):
            if _within(line, request.since, request.until):
                start = math.floor(line.at / request.bucket_secs) * request.bucket_secs
                bucket = buckets.setdefault(start, _bucket(start))
                setattr(bucket, COUNTED[line.source], getattr(bucket, COUNTED[line.source]) + 1)
        return api_pb2.AppCountLogsResponse(app_id=request.app_id, buckets=[buckets[at] for at in sorted(buckets)])

    async def AppGetLogs(self, request: api_pb2.AppGetLogsRequest) -> AsyncIterator[api_pb2.TaskLogsBatch]:  # noqa: N802
        """What comes from now on, or after the entry that is named; ends after the client's own time."""
        ends_at = time.monotonic() + request.timeout
        seen = int(request.last_entry_id) if request.last_entry_id else len(self._lines)
        while time.monotonic() < ends_at:
            known, seen = seen, len(self._lines)
            for number, line in enumerate(self._lines[known:seen], known + 1):
                if _matches(line, request):
                    yield line.as_batch(entry_id=str(number))
            if request.app_id in self._done:
                yield api_pb2.TaskLogsBatch(app_done=True)
                return
            await asyncio.sleep(POLL_S)

    def _of(self, request: Asked) -> Iterator[Line]:
        return (line for line in self._lines if _matches(line, request))


def _matches(line: Line, asked: Asked) -> bool:
    source = asked.file_descriptor if isinstance(asked, api_pb2.AppGetLogsRequest) else asked.source
    wanted: Iterable[tuple[object, object]] = (
        (asked.app_id, line.app_id),
        (asked.function_id, line.function_id),
        (asked.task_id, line.task_id),
        (source, line.source),
    )
    return asked.search_text in line.text and all(not value or value == has for value, has in wanted)


def _within(line: Line, since: Timestamp, until: Timestamp) -> bool:
    return _seconds(since) <= line.at < _seconds(until)


def _seconds(at: Timestamp) -> float:
    return at.seconds + at.nanos / 1e9


def _bucket(start: int) -> api_pb2.AppCountLogsResponse.LogBucket:
    return api_pb2.AppCountLogsResponse.LogBucket(bucket_start_at=Timestamp(seconds=start))
