"""Serverless endpoints in our nouns: a load balancer in front of workers that RunPod starts and ends by itself.

The image runs with its own entrypoint, and RunPod's key is asked for at the edge (docs.runpod.io, pages
serverless/load-balancing). What the API's defaults would get wrong is always sent: live, a missing `timeout` became 0,
and `flashboot` is off unless it is asked for (runpod/runpod-plugins-official, its notes on breaking changes).
"""

import contextlib
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gpu_providers.base import Boot, LaunchRequest, Resource, ResourceState, Volume
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest, NoCapacity, NotFound, ProviderError
from gpu_providers.in_parallel import at_once
from gpu_providers.names import check_name
from gpu_providers.runpod import boot, marks, names, pod_answers, pods
from gpu_providers.runpod.client import RunPodClient, as_made
from gpu_providers.runpod.log_lines import LogQuery
from gpu_providers.runpod.options import Options, disk_gb, regions_of
from gpu_providers.runpod.urls import Urls
from gpu_providers.values import Json, amount, id_of, moment, part, text, web_url

PREFIX = "serverless/"
"""Before the id of an endpoint, in a resource's id."""
LONGEST_IDLE_S = 3600
REQUESTS_PER_WORKER = 16
"""In flight before another worker is started, where the launch does not say."""

_UNBILLED = ("THROTTLED", "UNHEALTHY")
"""Whether a worker bills while it initializes is told both ways; what is not certainly free is counted."""
_WATCHED_WORKERS = 4
_LOG_READ_S = 3.0


@dataclass(frozen=True)
class Endpoints:
    """The account's endpoints; ids are RunPod's own, without `PREFIX`."""

    client: RunPodClient
    urls: Urls

    def launch(self, request: LaunchRequest, options: Options, volume: Volume | None) -> Resource:
        """Make an endpoint; nothing runs until it is asked, unless the recipe keeps workers up."""
        check_name(request.name)
        sold = names.OfferId.parse(request.offer.offer_id)
        pool = names.pool_of(sold.gpu_id, self.client.gpus(product="SERVERLESS", count=sold.gpu_count))
        if pool is None:
            raise NoCapacity(f"RunPod has no serverless workers with {sold.gpu_id} any more")
        body = _body(request, options, volume, pool, sold.gpu_count)
        pods.check_limits(body)
        made = self.client.create_endpoint(body)
        with as_made():
            return self._resource({**body, **{name: value for name, value in made.items() if value is not None}}, ())

    def find(self, name: str) -> Resource | None:
        """The newest of this name."""
        named = [said for said in self.client.endpoints() if marks.is_named(said, name)]
        return self._existing(max(named, key=pod_answers.created_at)) if named else None

    def all(self) -> Iterator[Resource]:
        """Ours, and no others."""
        ours = {id_of(said): said for said in self.client.endpoints() if marks.name_of(said)}
        found = at_once(lambda endpoint_id: self._existing(ours[endpoint_id]), ours)
        return (resource for resource in found if resource)

    def describe(self, endpoint_id: str) -> Resource:
        """Raises NotFound."""
        return self._with_workers(self.client.endpoint(endpoint_id))

    def boot(self, endpoint_id: str) -> Boot:
        """It serves on demand, so it counts as running from the first; the detail says how far its workers are.

        Raises as the contract's `boot`. A host that fails is RunPod's to replace.
        """
        workers = self.client.workers(endpoint_id)
        progress = ""
        for worker in workers[:_WATCHED_WORKERS]:
            log = self._host_log(endpoint_id, text(worker, "id"))
            if (starts := boot.starts(log)) > 1:
                raise CommandCrashed(f"{boot.CRASH_LOOP}: the command of a worker was started {starts} times so far")
            with contextlib.suppress(HostFailed):
                boot.check_fatal(log)
            progress = progress or boot.progress(log)
        return Boot(running=True, detail=", ".join(filter(None, (_in_words(workers), progress))))

    def _existing(self, said: Json) -> Resource | None:
        """None where it has gone meanwhile."""
        with contextlib.suppress(NotFound):
            return self._with_workers(said)
        return None

    def _with_workers(self, said: Json) -> Resource:
        return self._resource(said, self.client.workers(id_of(said)))

    def _resource(self, said: Json, workers: Sequence[Json]) -> Resource:
        endpoint_id = id_of(said)
        base = web_url(text(part(said, "requestUrls"), "base")) or self.urls.of_endpoint(endpoint_id)
        statuses = [text(worker, "status") for worker in workers]
        broken = bool(statuses) and all(status == "UNHEALTHY" for status in statuses)
        asked_usd_per_hour = marks.asked_price_usd_per_hour(said)
        return Resource(
            provider="runpod",
            resource_id=f"{PREFIX}{endpoint_id}",
            name=marks.name_of(said) or text(said, "name"),
            state=ResourceState.BROKEN if broken else ResourceState.RUNNING,
            endpoint=base.rstrip("/").removesuffix("/v1"),
            price_usd_per_hour=sum(status not in _UNBILLED for status in statuses) * asked_usd_per_hour,
            created_at=moment(said.get("createdAt")) or datetime.now(UTC),
            labels=marks.labels(said),
            detail=_in_words(workers),
            region=", ".join(sorted({text(worker, "dataCenterId") for worker in workers} - {""})),
            most_workers=max(1, round(amount(part(said, "workers").get("max")) or 1)),
            native_idle_s=amount(part(said, "workers").get("idleTimeout")),
            full_price_usd_per_hour=asked_usd_per_hour,
        )

    def _host_log(self, endpoint_id: str, worker_id: str) -> Sequence[str]:
        """Nothing when it cannot be read: it only adds."""
        with contextlib.suppress(ProviderError):
            read = self.client.worker_logs(endpoint_id, worker_id, LogQuery(source="system", read_s=_LOG_READ_S))
            return [line.line for line in read]
        return ()


def _body(
    request: LaunchRequest, options: Options, volume: Volume | None, pool: names.Pool, gpu_count: int
) -> dict[str, Any]:
    gpu: dict[str, Any] = {"pools": [pool.pool_id], "excludedTypes": list(pool.excluded_types), "count": gpu_count}
    if request.min_cuda_version:
        gpu["minCudaVersion"] = request.min_cuda_version
    # Without PORT_HEALTH a worker stays unready for ever: runpod/runpod-plugins-official, golden path 14.
    ports = {"PORT": str(request.port), "PORT_HEALTH": str(request.port), "HEALTH_CHECK_PATH": "/health"}
    body: dict[str, Any] = {
        "name": request.name,
        "type": "LOAD_BALANCER",
        "image": request.image,
        "args": shlex.join(request.command),
        "ports": [f"{request.port}/http"],
        "env": {**marks.environment(request), **ports},
        "disk": disk_gb(options, request.disk_gib),
        "gpu": gpu,
        "workers": {
            "min": options.workers_min,
            "max": options.workers_max,
            "idleTimeout": _idle_timeout_s(request.idle_s),
        },
        "scaling": {"type": "REQUEST_COUNT", "requestCount": request.concurrency or REQUESTS_PER_WORKER},
        "timeout": options.timeout_s * 1000,
        "flashboot": "FLASHBOOT" if options.flashboot else "OFF",
    }
    if regions := request.regions or regions_of(options, volume):
        body["dataCenterIds"] = list(regions)
    if volume:
        body["networkVolumes"] = [volume.volume_id]
    if options.registry:
        body["registry"] = options.registry
    return body


def _idle_timeout_s(idle_s: float) -> int:
    seconds = math.ceil(idle_s)
    if not 1 <= seconds <= LONGEST_IDLE_S:
        raise InvalidRequest(
            f"RunPod ends an idle serverless worker after 1 s to 1 h, not after {idle_s:g} s",
            hint="give an idle limit of at most an hour: --idle 1h",
        )
    return seconds


def _in_words(workers: Sequence[Json]) -> str:
    """`1 worker running, 2 initializing`."""
    if not workers:
        return "no workers"
    counts = Counter(text(worker, "status").lower() or "of no known state" for worker in workers)
    (first, count), *rest = counts.most_common()
    return ", ".join((f"{count} worker{'s' * (count > 1)} {first}", *(f"{number} {state}" for state, number in rest)))
