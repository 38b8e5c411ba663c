"""Every provider of ours keeps the contract, and the suite that says so notices a provider that does not."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from gpu_providers.base import LaunchRequest, Provider, ProviderContext, Resource, Search
from gpu_providers.local.provider import LocalProvider
from gpu_providers.local.record import load
from gpu_providers.testing.conformance import UP_LINE, Crash, ProviderConformance, RequestFor


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class TestLocal(ProviderConformance):
    timeout_s = 10.0

    @pytest.fixture
    def provider(self, tmp_path: Path) -> Provider:
        return LocalProvider(ProviderContext(tmp_path / "local", os.environ), grace_s=2.0)

    @pytest.fixture
    def request_for(self, provider: Provider) -> RequestFor:
        def build(name: str) -> LaunchRequest:
            return LaunchRequest(
                name=name,
                offer=provider.offers(Search())[-1],
                image="",
                command=("sh", "-c", f"echo '{UP_LINE}'; exec sleep 600"),
                env={},
                secret_env={},
                port=free_port(),
                disk_gib=1,
                labels={"recipe": "conformance"},
                options={},
            )

        return build

    @pytest.fixture
    def crash(self, provider: Provider) -> Crash:
        def kill(resource: Resource) -> None:
            entry = load(provider.context.state_dir / resource.name)
            assert entry is not None
            assert entry.process is not None
            os.kill(entry.process.pid, signal.SIGKILL)

        return kill


LIES = {
    "test_what_is_terminated_is_gone_everywhere": """
        def terminate(self, resource_id):
            pass
    """,
    "test_what_was_launched_is_found_described_and_listed": """
        def list_resources(self):
            return []
    """,
    "test_ending_one_resource_leaves_the_other_alone": """
        def terminate(self, resource_id):
            for resource in self.list_resources():
                super().terminate(resource.resource_id)
    """,
    "test_a_refused_launch_leaves_nothing": """
        def launch(self, request):
            super().launch(replace(request, options={}))
            raise InvalidRequest("no such option")
    """,
    "test_a_secret_shows_up_nowhere": """
        def launch(self, request):
            secrets = {name: secret.reveal() for name, secret in request.secret_env.items()}
            return super().launch(replace(request, labels=secrets))
    """,
    "test_only_what_carries_our_prefix_is_listed": """
        def list_resources(self):
            return [*super().list_resources(), replace(super().list_resources()[0], name="somebody-elses")]
    """,
    "test_the_parts_of_a_price_add_up_to_it": """
        def offers(self, search):
            return [replace(offer, price_usd_per_hour=2.0) for offer in super().offers(search)]
    """,
    "test_every_offer_names_a_known_card_or_the_cpu": """
        def offers(self, search):
            return [replace(offer, gpu="H1000", gpu_count=1) for offer in super().offers(search)]
    """,
    "test_what_never_existed_is_not_found": """
        def describe(self, resource_id):
            return self.find(resource_id)
    """,
    "test_terminating_twice_is_success": """
        def terminate(self, resource_id):
            super().terminate(self.describe(resource_id).resource_id)
    """,
    "test_a_command_that_died_is_not_called_running": """
        def find(self, name):
            self.seen = super().find(name) or self.seen
            return self.seen
    """,
    "test_an_unknown_option_is_refused_by_name": """
        def offers(self, search):
            return super().offers(Search())
    """,
    "test_logs_are_lines_and_tail_keeps_the_last": """
        def logs(self, resource_id, *, tail=None, follow=False, stop=lambda: False):
            return super().logs(resource_id, tail=None if tail is None else 0, follow=follow, stop=stop)
    """,
}
"""What a provider may get wrong, by the test that has to notice it."""

HEADER = """
import os
from dataclasses import replace

import pytest

from gpu_providers.base import ProviderContext, Search
from gpu_providers.errors import InvalidRequest
from gpu_providers.local.provider import LocalProvider
from test_provider_conformance import TestLocal as Honest
"""

LIAR = """
class Provider_{test}(LocalProvider):
{lie}

class Test_{test}(Honest):
    timeout_s = 0.6

    @pytest.fixture
    def provider(self, tmp_path):
        return Provider_{test}(ProviderContext(tmp_path / "local", os.environ), grace_s=1.0)
"""


def test_the_suite_notices_every_way_to_break_the_contract(tmp_path: Path) -> None:
    liars = [LIAR.format(test=test, lie=indent(dedent(lie), "    ")) for test, lie in LIES.items()]
    (tmp_path / "test_liars.py").write_text(HEADER + "".join(liars))
    try:
        report = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rA", "-p", "no:cacheprovider", "--basetemp=runs"]
            + [f"test_liars.py::Test_{test}::{test}" for test in LIES],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
        ).stdout
    finally:
        _end_what_the_liars_left(tmp_path)
    unnoticed = [test for test in LIES if f"FAILED test_liars.py::Test_{test}::{test}" not in report]
    assert unnoticed == [], report


def _end_what_the_liars_left(folder: Path) -> None:
    for state_dir in folder.glob("runs/*/local"):
        provider = LocalProvider(ProviderContext(state_dir, os.environ), grace_s=1.0)
        for resource in provider.list_resources():
            provider.terminate(resource.resource_id)
        assert provider.list_resources() == []
