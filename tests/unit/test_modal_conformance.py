"""Modal keeps the provider contract: the suite that every cloud passes, with Modal's SDK and its container runtime."""

from collections.abc import Iterator

import pytest
from emulators.modal_cloud import ModalEmulator
from modal_account import asking, offer_of, provider_at, request_of

from gpu_providers.base import LaunchRequest, Resource
from gpu_providers.modal_cloud.boot import CRASHES
from gpu_providers.modal_cloud.provider import ModalProvider
from gpu_providers.testing.conformance import Crash, ProviderConformance, RequestFor


class TestModal(ProviderConformance):
    timeout_s = 60.0

    @pytest.fixture(scope="class")
    @classmethod
    def cloud(cls) -> Iterator[ModalEmulator]:
        with ModalEmulator() as emulator:
            yield emulator

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, cloud: ModalEmulator, tmp_path_factory: pytest.TempPathFactory) -> ModalProvider:
        return provider_at(cloud, tmp_path_factory.mktemp("provider"))

    @pytest.fixture(scope="class")
    @classmethod
    def request_for(cls, provider: ModalProvider) -> RequestFor:
        def build(name: str) -> LaunchRequest:
            return request_of(offer_of(provider), name)

        return build

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls, provider: ModalProvider, request_for: RequestFor) -> Iterator[Resource]:
        """A container takes seconds to start."""
        with cls.launching(provider, request_for) as launch:
            yield launch()

    @pytest.fixture
    def crash(self, provider: ModalProvider) -> Crash:
        """By a request that kills every engine that it is given to: Modal starts another for it, again and again."""

        def kill(resource: Resource) -> None:
            def have_crashed() -> bool:
                said = list(provider.logs(resource.resource_id))
                return sum("engine ended" in line for line in said) >= CRASHES

            with asking(provider, resource, "/die"):
                self.eventually(provider, have_crashed, "its containers crash")

        return kill
