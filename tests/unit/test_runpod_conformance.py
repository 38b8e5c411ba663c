"""RunPod keeps the provider contract: the suite that every cloud passes, with real processes behind the pods."""

import os
import signal
from collections.abc import Iterator

import pytest
from emulators.runpod import RunPodEmulator
from runpod_account import offer_of, pod_request, provider_at

from gpu_providers.base import LaunchRequest, Resource
from gpu_providers.runpod.provider import RunPodProvider
from gpu_providers.testing.conformance import UP_LINE, Crash, ProviderConformance, RequestFor

WHAT_RUNS = f"echo '{UP_LINE}'; echo $$ > main.pid; exec sleep 600"


class TestRunPod(ProviderConformance):
    timeout_s = 20.0

    @pytest.fixture(scope="class")
    @classmethod
    def cloud(cls) -> Iterator[RunPodEmulator]:
        with RunPodEmulator(engine="stub") as emulator:
            yield emulator

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, cloud: RunPodEmulator, tmp_path_factory: pytest.TempPathFactory) -> RunPodProvider:
        return provider_at(cloud, tmp_path_factory.mktemp("provider"))

    @pytest.fixture(scope="class")
    @classmethod
    def request_for(cls, provider: RunPodProvider) -> RequestFor:
        def build(name: str) -> LaunchRequest:
            return pod_request(offer_of(provider), name, entrypoint=("sh",), command=("-c", WHAT_RUNS))

        return build

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls, provider: RunPodProvider, request_for: RequestFor) -> Iterator[Resource]:
        """To come up takes most of the time."""
        with cls.launching(provider, request_for) as launch:
            yield launch()

    @pytest.fixture
    def crash(self, cloud: RunPodEmulator) -> Crash:
        def kill(resource: Resource) -> None:
            container = next(pod for pod in cloud.pods if pod.id == resource.resource_id).container
            assert container is not None
            os.kill(int((container.folder / "main.pid").read_text()), signal.SIGKILL)

        return kill
