"""Pods: how one is made, and all that is asked of them."""

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpu_providers.base import Boot, LaunchRequest, Resource, ResourceState, Secret, Volume
from gpu_providers.errors import InvalidRequest, ProviderError
from gpu_providers.names import check_name
from gpu_providers.runpod import boot, marks
from gpu_providers.runpod.client import RunPodClient, as_made
from gpu_providers.runpod.log_lines import LogQuery
from gpu_providers.runpod.names import OfferId
from gpu_providers.runpod.options import Options, disk_gb, regions_of
from gpu_providers.runpod.pod_answers import check_exists, created_at, is_gone, resource
from gpu_providers.runpod.refusals import Unprocessable
from gpu_providers.runpod.urls import Urls
from gpu_providers.runpod.volumes import VOLUME_PATH
from gpu_providers.values import Json, part, text

_MOST_VARIABLES = 50
"""docs.runpod.io, pods/templates/environment-variables."""
_MOST_BYTES = 100_000
"""RunPod answers 413 to a request of more than 102,400."""
_LOG_READ_S = 2.0


@dataclass(frozen=True)
class Pods:
    """The account's pods."""

    client: RunPodClient
    urls: Urls

    def launch(self, request: LaunchRequest, options: Options, volume: Volume | None) -> Resource:
        """Make one; `volume` is attached. Raises as the contract's `launch`."""
        check_name(request.name)
        body = _body(request, options, volume)
        bodies = [{**body, **command} for command in _commands(request)]
        for each in bodies:
            check_limits(each)
        made = _create(self.client, bodies)
        with as_made():
            return resource({**body, **{name: value for name, value in made.items() if value is not None}}, self.urls)

    def find(self, name: str) -> Resource | None:
        """The newest of this name."""
        named = [pod for pod in self.client.pods() if marks.is_named(pod, name) and not is_gone(pod)]
        return self._resource(max(named, key=created_at)) if named else None

    def all(self) -> Iterator[Resource]:
        """Ours, and no others."""
        ours = [pod for pod in self.client.pods() if marks.name_of(pod) and not is_gone(pod)]
        return (resource(pod, self.urls) for pod in ours)

    def describe(self, pod_id: str) -> Resource:
        """Raises NotFound."""
        return self._resource(self.client.pod(pod_id))

    def environment(self, pod_id: str) -> Mapping[str, Secret]:
        """Raises NotFound."""
        return {name: Secret(str(value)) for name, value in part(self.client.pod(pod_id), "env").items()}

    def boot(self, pod_id: str) -> Boot:
        """Raises as the contract's `boot`."""
        pod = self.client.pod(pod_id)
        check_exists(pod)
        return boot.boot(pod, self._host_log(pod))

    def _resource(self, pod: Json) -> Resource:
        """As RunPod says, but for a crash loop, all of which it calls RUNNING."""
        found = resource(pod, self.urls)
        if found.state is not ResourceState.BROKEN and boot.starts(self._host_log(pod)) > 1:
            return replace(found, state=ResourceState.BROKEN, detail=boot.CRASH_LOOP)
        return found

    def _host_log(self, pod: Json) -> Sequence[str]:
        """What its host has to say of its start; nothing when that is over, or the log cannot be read: it only adds."""
        if not boot.is_fresh(pod):
            return ()
        with contextlib.suppress(ProviderError):
            read = self.client.pod_logs(text(pod, "id"), LogQuery(source="system", read_s=_LOG_READ_S))
            return [line.line for line in read]
        return ()


def _create(client: RunPodClient, bodies: Sequence[Json]) -> Json:
    """By the first body that RunPod's schema takes: a request that it refuses for its form has made nothing."""
    *early, last = bodies
    for body in early:
        with contextlib.suppress(Unprocessable):
            return client.create_pod(body)
    return client.create_pod(last)


def _body(request: LaunchRequest, options: Options, volume: Volume | None) -> dict[str, Any]:
    sold = OfferId.parse(request.offer.offer_id)
    gpu: dict[str, Any] = {"id": sold.gpu_id, "count": sold.gpu_count}
    if request.min_cuda_version:
        gpu["minCudaVersion"] = request.min_cuda_version
    body: dict[str, Any] = {
        "name": request.name,
        "image": request.image,
        "cloud": sold.cloud.upper(),
        "gpu": gpu,
        "disk": disk_gb(options, request.disk_gib),
        "ports": [f"{request.port}/http"],
        "env": marks.environment(request),
    }
    if regions := request.regions or regions_of(options, volume):
        body["dataCenterIds"] = list(regions)
    if volume:
        body["mounts"] = {"network": [{"volumeId": volume.volume_id, "path": VOLUME_PATH}]}
    if options.registry:
        body["registry"] = options.registry
    return body


def _commands(request: LaunchRequest) -> list[dict[str, Any]]:
    """The ways to say what to run, best first.

    Arrays are newer than the published specification. `args` alone is older: text that is split as a shell would,
    or these arrays as JSON; as mere text it cannot replace the image's entrypoint, which most images do not have.
    """
    entrypoint, command = list(request.entrypoint), list(request.command)
    if not entrypoint:
        return [{"args": shlex.join(command)}]
    arrays = {"entrypoint": entrypoint, "cmd": command}
    return [arrays, {"args": json.dumps(arrays)}, {"args": shlex.join([*entrypoint, *command])}]


def check_limits(body: Json) -> None:
    """Raises InvalidRequest for a request that RunPod would refuse for its size."""
    if len(body["env"]) > _MOST_VARIABLES:
        raise InvalidRequest(
            f"RunPod takes {_MOST_VARIABLES} environment variables, and this launch has {len(body['env'])}",
            hint="take some out of `env` in the recipe",
        )
    if len(json.dumps(body)) > _MOST_BYTES:
        raise InvalidRequest(
            f"the launch takes more than the {_MOST_BYTES} bytes that RunPod accepts",
            hint="shorten the environment or the engine's arguments in the recipe",
        )
