"""Lambda keeps the provider contract: the suite that every cloud passes, with a real SSH server on every machine."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulators.lambda_cloud import LambdaEmulator
from lambda_account import offer_of, provider_at, request_of

from gpu_providers.base import LaunchRequest, Resource
from gpu_providers.lambda_cloud.provider import LambdaProvider
from gpu_providers.testing.conformance import UP_LINE, Crash, ProviderConformance, RequestFor

WHAT_RUNS = f"echo '{UP_LINE}'; echo $$ > main.pid; exec sleep 600"


class TestLambda(ProviderConformance):
    timeout_s = 30.0

    @pytest.fixture
    def cloud(self) -> Iterator[LambdaEmulator]:
        with LambdaEmulator(engine="stub", boot_s=0.0) as emulator:
            yield emulator

    @pytest.fixture
    def provider(self, cloud: LambdaEmulator, tmp_path: Path) -> LambdaProvider:
        return provider_at(cloud, tmp_path)

    @pytest.fixture
    def request_for(self, provider: LambdaProvider) -> RequestFor:
        def build(name: str) -> LaunchRequest:
            return request_of(offer_of(provider), name, entrypoint=("sh",), command=("-c", WHAT_RUNS))

        return build

    @pytest.fixture
    def crash(self, cloud: LambdaEmulator) -> Crash:
        def kill(resource: Resource) -> None:
            container = cloud.container(resource.name)
            os.kill(int((container.folder / "main.pid").read_text()), signal.SIGKILL)

        return kill
