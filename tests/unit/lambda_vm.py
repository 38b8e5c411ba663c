"""A machine that was launched at Lambda, with a real SSH server, and what this side knows of it."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from a_sshd import USER, Sshd
from a_vm import Vm

from gpu_providers.base import Boot, Kind, LaunchRequest, Offer, Secret
from gpu_providers.lambda_cloud.machines import Machine, Machines
from gpu_providers.lambda_cloud.parcel import parcel_of
from gpu_providers.lambda_cloud.set_up import boot

NAME = "gpu-a"
_OFFER = Offer(
    provider="lambda",
    kind=Kind.VM,
    offer_id="lambda-gpu_1x_h100_sxm5@us-east-1",
    gpu="h100-sxm-80gb",
    gpu_count=1,
    gpu_memory_gib=80.0,
    region="us-east-1",
    price_usd_per_hour=4.29,
    price_parts={"gpu": 4.29},
    prices_as_of=datetime(2026, 9, 1, tzinfo=UTC),
)
REQUEST = LaunchRequest(
    name=NAME,
    offer=_OFFER,
    image="vllm/vllm-openai:v0.20.0",
    command=("-c", "print(1)"),
    env={"GPU_NODE": "e30="},
    secret_env={"VLLM_API_KEY": Secret("sesame")},
    port=8000,
    disk_gib=40,
    labels={"name": NAME},
    options={},
    entrypoint=("python3",),
    min_cuda_version="13.0",
    older_image="vllm/vllm-openai:v0.20.0-cu129",
)


class LaunchedVm:
    """`vm` is the inside of the machine, `sshd` its SSH server, `machines` what is known here."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.vm = Vm(folder / "vm")
        self.sshd = Sshd(folder / "sshd", self.vm.env)
        self.machines = Machines(folder / "machines")
        request = replace(REQUEST, public=bool(changes.get("public")))
        made = Machine(NAME, self.sshd.identity, USER, self.sshd.port, gpu_count=1, architecture="x86_64")
        known = replace(made, address=self.sshd.address, instance_id="0920582c", **changes)
        self.machines.prepare(known, self.sshd.host_key, parcel_of(request, request.secret_env))

    @property
    def machine(self) -> Machine:
        known = self.machines.get(NAME)
        assert known
        return known

    def boot(self, now: float = 1000.0, *, open_to: Callable[[str], None] | None = None) -> Boot:
        return boot(self.machines, self.machine, now, open_to=open_to)

    def booted(self) -> Boot:
        """As it is in the end."""
        deadline = time.monotonic() + 20
        while not (found := self.boot()).running:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found
