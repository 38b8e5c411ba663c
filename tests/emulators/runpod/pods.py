"""RunPod's pods: their life, their price, and what the API tells of them.

What the sources say, and this does:
- A pod is RUNNING and bills from its creation on; `runtime` stays null until the container has started (recorded by
  war4peace/image-toolbox, 2026-08). A command that ends is started again, for ever (runpodctl#149).
- `cost` does not become 0 when the pod is stopped, though the spec says so (the same recordings).
- The container disk costs 0.10 $ per GB and month while the pod runs, a persistent disk 0.10, and 0.20 while it is
  stopped (docs, "Pods pricing").
- Without money, pods are terminated; those with a network volume are stopped (docs, "Billing").
- A deleted pod is 404 at once; its environment is shown in clear; names need not be unique.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bill import HOURS_PER_MONTH
from ..container_spec import Boot, ContainerSpec
from ..containers import Container
from ..lifetime import Lifetime
from .cards import Card
from .command import what_runs

if TYPE_CHECKING:
    from .emulator import RunPodEmulator

DISK_USD_PER_GB_HOUR = 0.10 / HOURS_PER_MONTH
STOPPED_DISK_USD_PER_GB_HOUR = 0.20 / HOURS_PER_MONTH
USUAL_DISK_GB = 50
ACTIONS = {"RUNNING": ["stop", "restart", "terminate"], "EXITED": ["start", "terminate"]}


@dataclass
class Pod(Lifetime):
    """One pod."""

    id: str
    key: str
    """The key that is put into the pod: good for itself alone."""
    body: dict[str, Any]
    """Of its creation, with later changes."""
    card: Card
    data_center: str
    cuda: str | None
    boot: Boot
    status: str = "RUNNING"
    started_at: float = 0.0
    locked: bool = False
    container: Container | None = None
    """None while the pod is stopped or gone."""
    preempted_at: float | None = None

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def cloud(self) -> str:
        return str(self.body.get("cloud", "SECURE"))

    @property
    def gpu_count(self) -> int:
        return int(self.body["gpu"]["count"])

    @property
    def vcpus(self) -> int:
        return 8 * self.gpu_count

    @property
    def http_ports(self) -> list[int]:
        return [int(port.partition("/")[0]) for port in self.body.get("ports", ()) if port.endswith("/http")]

    @property
    def network_volume(self) -> str | None:
        return network_volume(self.body)

    @property
    def disk_gb(self) -> int:
        return int(self.body.get("disk", USUAL_DISK_GB))

    @property
    def persistent_gb(self) -> int:
        return int(self.body.get("mounts", {}).get("persistent", {}).get("size", 0))

    @property
    def usd_per_hour(self) -> float:
        """What it costs while it runs."""
        disks = (self.disk_gb + self.persistent_gb) * DISK_USD_PER_GB_HOUR
        return round(self.card.usd_per_hour(self.cloud) * self.gpu_count + disks, 5)

    @property
    def usd_per_hour_stopped(self) -> float:
        return self.persistent_gb * STOPPED_DISK_USD_PER_GB_HOUR

    def environ(self) -> dict[str, str]:
        """The container's: what the cloud sets wins (a caller's RUNPOD_API_KEY is shadowed)."""
        return {
            **self.body.get("env", {}),
            "RUNPOD_POD_ID": self.id,
            "RUNPOD_API_KEY": self.key,
            "RUNPOD_DC_ID": self.data_center,
            "RUNPOD_POD_HOSTNAME": f"{self.id}-{self.created_at:.0f}",
            "RUNPOD_GPU_COUNT": str(self.gpu_count),
            "RUNPOD_CPU_COUNT": str(self.vcpus),
            "RUNPOD_PUBLIC_IP": "127.0.0.1",
            **({"CUDA_VERSION": self.cuda} if self.cuda else {}),
            **({"RUNPOD_VOLUME_ID": self.network_volume} if self.network_volume else {}),
        }


def network_volume(body: Mapping[str, Any]) -> str | None:
    """The id of the network volume that a pod's body mounts."""
    mounts = body.get("mounts", {}).get("network")
    return mounts[0]["volumeId"] if mounts else None


class Pods:
    """All pods of the account. Its methods are called under the cloud's lock."""

    def __init__(self, cloud: "RunPodEmulator") -> None:
        self._cloud = cloud
        self._pods: dict[str, Pod] = {}

    def __iter__(self) -> Iterator[Pod]:
        """Those that exist, the oldest first."""
        return (pod for pod in self._pods.values() if pod.gone_at is None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, id: str) -> Pod | None:  # noqa: A002
        """The pod as the API shows it: a little longer than it exists when it is told to."""
        pod = self._pods.get(id)
        return pod if pod and pod.is_shown(self._cloud.clock.now()) else None

    def on_record(self, id: str) -> Pod | None:  # noqa: A002
        """The pod, be it gone."""
        return self._pods.get(id)

    def by_key(self, key: str) -> Pod | None:
        """The pod whose own key this is, be it gone."""
        return next((pod for pod in self._pods.values() if pod.key == key), None)

    def listed(self, lag_s: float = 0.0) -> list[Pod]:
        """As by a list that lags behind."""
        now = self._cloud.clock.now()
        return [pod for pod in self._pods.values() if pod.is_listed(now, lag_s)]

    def create(
        self,
        body: Mapping[str, Any],
        card: Card,
        place: tuple[str, str | None],
        boot: Boot,
        preempted_after_s: float | None,
    ) -> Pod:
        """One more pod, at once running and billed, in that data center on a host with that CUDA version."""
        now = self._cloud.clock.now()
        pod = Pod(
            id=secrets.token_hex(7),
            key=f"rpa_{secrets.token_hex(20).upper()}",
            body=dict(body),
            card=card,
            data_center=place[0],
            cuda=place[1],
            created_at=now,
            boot=boot,
            preempted_at=None if preempted_after_s is None else now + preempted_after_s,
        )
        self._start(pod)
        self._pods[pod.id] = pod
        self._cloud.billing.start(pod.id, pod.name, pod.usd_per_hour)
        return pod

    def start(self, pod: Pod) -> None:
        """A stopped pod again."""
        self._start(pod)
        self._cloud.billing.rate(pod.id, pod.usd_per_hour)

    def stop(self, pod: Pod) -> None:
        """It keeps its disk, and costs that."""
        pod.status = "EXITED"
        self._end_container(pod)
        self._cloud.billing.rate(pod.id, pod.usd_per_hour_stopped)

    def restart(self, pod: Pod) -> None:
        self._end_container(pod)
        self.start(pod)

    def terminate(self, pod: Pod, shown_for_s: float = 0.0) -> None:
        pod.end(self._cloud.clock.now(), shown_for_s)
        self._end_container(pod)
        self._cloud.billing.stop(pod.id)

    def tick(self) -> None:
        """Takes away what is to be preempted, and everything once the money is gone."""
        now = self._cloud.clock.now()
        for pod in self:
            if pod.status == "RUNNING" and pod.preempted_at is not None and now >= pod.preempted_at:
                pod.preempted_at = None
                self.stop(pod)
        if self._cloud.billing.balance_usd() <= 0:
            for pod in list(self):
                self._take_away(pod)

    def _take_away(self, pod: Pod) -> None:
        if pod.network_volume is None:
            self.terminate(pod)
        elif pod.status == "RUNNING":
            self.stop(pod)

    def _start(self, pod: Pod) -> None:
        body = pod.body
        entrypoint, cmd = what_runs(body)
        port = pod.http_ports[0] if pod.http_ports else 0
        spec = ContainerSpec(pod.id, body["image"], entrypoint, cmd, pod.environ(), port)
        if pod.network_volume and self._cloud.volumes.get(pod.network_volume):
            spec = self._cloud.volumes.mounted(spec, pod.network_volume, body["mounts"]["network"][0]["path"])
        pod.container = self._cloud.run(spec, pod.boot)
        pod.status = "RUNNING"
        pod.started_at = self._cloud.clock.now()

    def _end_container(self, pod: Pod) -> None:
        if pod.container:
            pod.container.stop()
