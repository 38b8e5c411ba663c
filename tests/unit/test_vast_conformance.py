"""Vast.ai keeps the provider contract: the suite that every cloud passes, with real processes behind the instances."""

import os
import signal
from collections.abc import Iterator

import pytest
from emulators.vast import VastEmulator
from vast_account import offer_of, provider_at, request_of

from gpu_providers.base import LaunchRequest, Resource
from gpu_providers.testing.conformance import UP_LINE, Crash, ProviderConformance, RequestFor
from gpu_providers.vast.provider import VastProvider

WHAT_RUNS = f"echo '{UP_LINE}'; echo $$ > main.pid; exec sleep 600"


class TestVast(ProviderConformance):
    timeout_s = 20.0

    @pytest.fixture(scope="class")
    @classmethod
    def cloud(cls) -> Iterator[VastEmulator]:
        with VastEmulator(engine="stub") as emulator:
            yield emulator

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, cloud: VastEmulator, tmp_path_factory: pytest.TempPathFactory) -> VastProvider:
        return provider_at(cloud, tmp_path_factory.mktemp("provider"))

    @pytest.fixture(scope="class")
    @classmethod
    def request_for(cls, provider: VastProvider) -> RequestFor:
        def build(name: str) -> LaunchRequest:
            return request_of(offer_of(provider), name, entrypoint=("sh",), command=("-c", WHAT_RUNS))

        return build

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls, provider: VastProvider, request_for: RequestFor) -> Iterator[Resource]:
        """To come up takes most of the time."""
        with cls.launching(provider, request_for) as launch:
            yield launch()

    @pytest.fixture
    def crash(self, cloud: VastEmulator) -> Crash:
        def kill(resource: Resource) -> None:
            container = cloud.instances.named(resource.name).container
            assert container is not None
            os.kill(int((container.folder / "main.pid").read_text()), signal.SIGKILL)

        return kill
