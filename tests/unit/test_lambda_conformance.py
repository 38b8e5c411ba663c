"""Lambda keeps the provider contract: the suite that every cloud passes, with a real SSH server on every machine."""

import os
import signal
from collections.abc import Iterator

import pytest
from emulators.lambda_cloud import LambdaEmulator
from lambda_account import offer_of, provider_at, request_of

from gpu_providers.base import LaunchRequest, Resource
from gpu_providers.lambda_cloud.provider import LambdaProvider
from gpu_providers.testing.conformance import UP_LINE, Crash, ProviderConformance, RequestFor

WHAT_RUNS = f"echo '{UP_LINE}'; echo $$ > main.pid; exec sleep 600"


class TestLambda(ProviderConformance):
    timeout_s = 30.0

    @pytest.fixture(scope="class")
    @classmethod
    def cloud(cls) -> Iterator[LambdaEmulator]:
        with LambdaEmulator(engine="stub", boot_s=0.0) as emulator:
            yield emulator

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, cloud: LambdaEmulator, tmp_path_factory: pytest.TempPathFactory) -> LambdaProvider:
        return provider_at(cloud, tmp_path_factory.mktemp("provider"))

    @pytest.fixture(scope="class")
    @classmethod
    def request_for(cls, provider: LambdaProvider) -> RequestFor:
        def build(name: str) -> LaunchRequest:
            return request_of(offer_of(provider), name, entrypoint=("sh",), command=("-c", WHAT_RUNS))

        return build

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls, provider: LambdaProvider, request_for: RequestFor) -> Iterator[Resource]:
        """To set a machine up takes most of the time."""
        with cls.launching(provider, request_for) as launch:
            yield launch()

    @pytest.fixture
    def crash(self, cloud: LambdaEmulator) -> Crash:
        def kill(resource: Resource) -> None:
            container = cloud.container(resource.name)
            os.kill(int((container.folder / "main.pid").read_text()), signal.SIGKILL)

        return kill
