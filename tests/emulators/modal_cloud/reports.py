"""What Modal tells of money: its rates, and what each app has cost in full hours or days.

Sources: the installed SDK (_workspace.py). Periods are of UTC; one that has not ended is not told of yet.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from ..clock import Clock
from . import rates
from .apps import App, Apps
from .containers import Container

RESOLUTIONS: Mapping[str, float] = {"h": 3600.0, "d": 86_400.0}


class Reports:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self, apps: Apps, containers: Sequence[Container], clock: Clock) -> None:
        """`containers` are all that there have ever been."""
        self._apps = apps
        self._containers = containers
        self._clock = clock

    def WorkspaceBillingRates(  # noqa: N802
        self, _: api_pb2.WorkspaceBillingRatesRequest
    ) -> api_pb2.WorkspaceBillingRatesResponse:
        formatted = "\n".join(f"{name}: ${usd}" for name, usd in rates.LISTED.items())
        return api_pb2.WorkspaceBillingRatesResponse(rates=rates.LISTED, formatted=formatted)

    async def WorkspaceBillingReport(  # noqa: N802
        self, request: api_pb2.WorkspaceBillingReportRequest
    ) -> AsyncIterator[api_pb2.WorkspaceBillingReportItem]:
        for start, end in self._periods(request):
            for app in self._apps:
                if cost := self._cost(app, start, end):
                    yield _item(app, start, cost, request.tag_names)

    def _periods(self, request: api_pb2.WorkspaceBillingReportRequest) -> Iterator[tuple[float, float]]:
        """Raises GRPCError."""
        if request.resolution not in RESOLUTIONS:
            raise GRPCError(Status.INVALID_ARGUMENT, f"resolution must be one of {', '.join(RESOLUTIONS)}")
        length = RESOLUTIONS[request.resolution]
        ends_at = min(_seconds(request.end_timestamp), self._clock.now())
        start = _seconds(request.start_timestamp) // length * length
        while start + length <= ends_at:
            yield start, start + length
            start += length

    def _cost(self, app: App, start: float, end: float) -> dict[str, float]:
        """USD by resource, without those that cost nothing."""
        usd: dict[str, float] = {}
        for container in self._containers:
            if container.function.app_id == app.id and (hours := self._hours(container, start, end)):
                for name, rate in rates.resource_usd_per_hour(container.definition, container.gpu).items():
                    usd[name] = usd.get(name, 0.0) + hours * rate
        return usd

    def _hours(self, container: Container, start: float, end: float) -> float:
        """That it ran within the period."""
        if not container.started_at:
            return 0.0
        ended_at = container.finished_at or self._clock.now()
        return max(0.0, min(ended_at, end) - max(container.started_at, start)) / 3600


def _item(
    app: App, start: float, cost: Mapping[str, float], tag_names: Iterable[str]
) -> api_pb2.WorkspaceBillingReportItem:
    asked = set(tag_names)
    interval = Timestamp()
    interval.FromDatetime(datetime.fromtimestamp(start, UTC))
    return api_pb2.WorkspaceBillingReportItem(
        object_id=app.id,
        description=app.description,
        environment_name=app.environment,
        interval=interval,
        cost=f"{sum(cost.values()):.10f}",
        cost_by_resource={name: f"{usd:.10f}" for name, usd in cost.items()},
        tags={name: value for name, value in app.tags.items() if asked & {name, "*"}},
    )


def _seconds(at: Timestamp) -> float:
    return at.seconds + at.nanos / 1e9
