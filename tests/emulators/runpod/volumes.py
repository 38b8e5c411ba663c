"""RunPod's network volumes: `/v2/network-volumes`, and each as a bucket of its data center's S3 API, `/s3/{dc}/...`.

Sources: RunPod's OpenAPI file of API v2; its docs, "Network volumes" (0.07 $ per GB and month for the first TB, 0.05
beyond) and "S3-compatible API". The high-performance tier's price is not published; here it is twice as much.

One machine has one file system, where every container has its own: in a container with a volume, the path where it is
mounted stands for a folder of this machine, in its environment and in its command. It holds what the volume held when
the container was made; what is written there stays there.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..bill import HOURS_PER_MONTH
from ..container_spec import ContainerSpec
from ..server import Request, Response, Route, json_response
from . import bodies
from .answers import invalid, not_found, page, problem
from .cards import DATA_CENTERS
from .s3 import ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY

if TYPE_CHECKING:
    from .emulator import RunPodEmulator

SIZE_GB = bodies.integer(10, 4096)
NEW_VOLUME = bodies.fields(
    ("name", "size", "dataCenter"),
    name=bodies.string(pattern=".+"),
    size=SIZE_GB,
    dataCenter=bodies.string(pattern=".+"),
    type=bodies.string(one_of=("STANDARD", "HIGH_PERFORMANCE")),
)
VOLUME_CHANGES = bodies.fields((), name=bodies.string(pattern=".+"), size=SIZE_GB)


@dataclass
class Volume:
    """One volume; it costs until it is deleted."""

    id: str
    name: str
    size_gb: int
    data_center: str
    type: str

    @property
    def usd_per_hour(self) -> float:
        first, beyond = min(self.size_gb, 1000), max(0, self.size_gb - 1000)
        standard = (first * 0.07 + beyond * 0.05) / HOURS_PER_MONTH
        return standard * (2 if self.type == "HIGH_PERFORMANCE" else 1)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "size": self.size_gb,
            "dataCenter": self.data_center,
            "type": self.type,
        }


class Volumes:
    """All volumes of the account. What is not a handler is called under the cloud's lock."""

    def __init__(self, cloud: "RunPodEmulator") -> None:
        self.s3 = S3()
        self._cloud = cloud
        self._volumes: dict[str, Volume] = {}

    def __iter__(self) -> Iterator[Volume]:
        return iter(self._volumes.values())

    def get(self, id: str) -> Volume | None:  # noqa: A002
        return self._volumes.get(id)

    def close(self) -> None:
        self.s3.close()

    def mounted(self, spec: ContainerSpec, id: str, path: str) -> ContainerSpec:  # noqa: A002
        """The container with the volume at that path."""
        folder = self._cloud.containers.new_folder(id)
        for key, content in self.s3.files(id).items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(content)
        env = {name: value.replace(path, str(folder)) for name, value in spec.env.items()}
        return replace(spec, env=env, cmd=[word.replace(path, str(folder)) for word in spec.cmd])

    @property
    def env(self) -> dict[str, str]:
        """The variables by which the product finds the S3 API, and gets in."""
        return {
            "GPU_RUNPOD_S3_URL": f"{self._cloud.url}/s3/{{dc}}",
            "RUNPOD_S3_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "RUNPOD_S3_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v2/network-volumes", self._list, call="volumes"),
            Route("POST", "/v2/network-volumes", self._create, call="volumes"),
            Route("GET", "/v2/network-volumes/{id}", self._get, call="volumes"),
            Route("PATCH", "/v2/network-volumes/{id}", self._change, call="volumes"),
            Route("DELETE", "/v2/network-volumes/{id}", self._delete, call="volumes"),
            Route("*", "/s3/{dc}/{path...}", self._s3, locked=False),
        ]

    def _list(self, request: Request) -> Response:
        return page(request, "networkVolumes", [volume.as_json() for volume in self], self._cloud.page_size)

    def _get(self, request: Request) -> Response:
        volume = self.get(request.params["id"])
        return json_response(volume.as_json()) if volume else not_found()

    def _create(self, request: Request) -> Response:
        body = request.json()
        if errors := NEW_VOLUME(body, "$"):
            return invalid(errors)
        center, kind = DATA_CENTERS.get(body["dataCenter"]), body.get("type", "STANDARD")
        if center is None or kind not in center.volumes:
            return problem(400, f"no {kind} network volumes in data center {body['dataCenter']!r}")
        volume = Volume(secrets.token_hex(5), body["name"], body["size"], center.id, kind)
        self._volumes[volume.id] = volume
        self.s3.make_bucket(volume.id)
        self._cloud.billing.start(volume.id, volume.name, volume.usd_per_hour)
        return json_response(volume.as_json(), 201)

    def _change(self, request: Request) -> Response:
        volume, body = self.get(request.params["id"]), request.json()
        if volume is None:
            return not_found()
        if errors := VOLUME_CHANGES(body, "$"):
            return invalid(errors)
        if body.get("size", volume.size_gb) < volume.size_gb:
            return problem(400, "a network volume cannot shrink")
        volume.name, volume.size_gb = body.get("name", volume.name), body.get("size", volume.size_gb)
        self._cloud.billing.rate(volume.id, volume.usd_per_hour)
        return json_response(volume.as_json())

    def _delete(self, request: Request) -> Response:
        volume = self.get(request.params["id"])
        if volume is None:
            return not_found()
        if not self._cloud.misbehaviour.take("delete-204-stays", call="volumes"):
            del self._volumes[volume.id]
            self.s3.delete_bucket(volume.id)
            self._cloud.billing.stop(volume.id)
        return Response(204)

    def _s3(self, request: Request) -> Response:
        """The address and the region of a signature name the data center; only its own volumes are there."""
        path = f"/{request.path.split('/', 3)[3]}"
        volume = self.get(path.split("/")[1])
        region = re.search(r"Credential=[^/]+/\d+/([^/]+)/", request.headers.get("authorization", ""))
        if volume and volume.data_center.lower() != request.params["dc"]:
            return Response(404)
        if volume and region and region[1] != volume.data_center:
            return Response(400)
        return self.s3.answer(request, path)
