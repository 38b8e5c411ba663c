"""Modal as a provider, against the emulated cloud: Modal's SDK on this side, its container runtime on the other."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from emulators.modal_cloud import ModalEmulator
from modal_account import asking, offer_of, provider_at, request_of

from gpu_cli.fleet.recover import described
from gpu_providers.base import Kind, ProviderContext, Resource, ResourceState, Search, Volume
from gpu_providers.errors import CreateUnknown, InvalidRequest, NoCredentials, NotFound
from gpu_providers.modal_cloud.provider import ModalProvider

PATIENCE_S = 30.0
IDLE_S = 2.0
Launch = Callable[..., Resource]


def wait_until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cloud() -> Iterator[ModalEmulator]:
    with ModalEmulator(environments=("main", "dev")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def modal(cloud: ModalEmulator, tmp_path_factory: pytest.TempPathFactory) -> ModalProvider:
    return provider_at(cloud, tmp_path_factory.mktemp("provider"))


@pytest.fixture(scope="module")
def sleeper(modal: ModalProvider) -> Resource:
    """For tests that only look, and wake it at most."""
    return modal.launch(request_of(offer_of(modal), "gpu-sleeper-abc123", idle_s=IDLE_S))


@pytest.fixture
def launch(cloud: ModalEmulator, modal: ModalProvider) -> Iterator[Launch]:
    """Launches what the test wants; none of it is left, and no misbehaviour."""
    names: list[str] = []

    def launched(name: str, **changes: Any) -> Resource:
        names.append(name)
        return modal.launch(request_of(offer_of(modal), name, **changes))

    yield launched
    cloud.misbehaviour.clear()
    for name in names:
        if left := modal.find(name):
            modal.terminate(left.resource_id)


def misbehave(cloud: ModalEmulator, **rule: Any) -> None:
    with cloud.lock:
        cloud.misbehaviour.add(rule)


def test_an_endpoint_sleeps_for_nothing_and_a_look_at_it_does_not_wake_it(
    cloud: ModalEmulator, modal: ModalProvider, sleeper: Resource
) -> None:
    def now() -> Resource:
        return modal.describe(sleeper.resource_id)

    assert now().native_idle_s == IDLE_S

    wait_until(lambda: now().detail == "no containers")
    containers = len(cloud.containers_so_far)
    asleep = [now(), modal.find(sleeper.name), *modal.list_resources()]
    assert all(seen and (seen.state, seen.price_usd_per_hour) == (ResourceState.RUNNING, 0.0) for seen in asleep)
    assert modal.boot(sleeper.resource_id).running
    assert list(modal.logs(sleeper.resource_id))
    assert len(cloud.containers_so_far) == containers
    with asking(modal, sleeper, "/hold"):
        wait_until(lambda: now().detail == "1 container running, 1 request")
        assert now().price_usd_per_hour == pytest.approx(offer_of(modal).price_usd_per_hour)


def test_what_runs_is_recovered_as_what_it_is_from_its_labels(modal: ModalProvider, sleeper: Resource) -> None:
    deployment = described(modal.describe(sleeper.resource_id), now=time.time())
    assert (deployment.kind, deployment.name, deployment.recipe) == (Kind.SERVERLESS, "llama", "llama-8b")
    assert (deployment.gpu, deployment.gpu_count, deployment.deadline_at) == ("H100", 1, 1800000000.5)


def test_a_container_that_waits_for_a_card_costs_nothing_and_the_next_choice_costs_what_it_costs(
    cloud: ModalEmulator, modal: ModalProvider, launch: Launch
) -> None:
    misbehave(cloud, do="no-capacity", gpu="H100")
    second = offer_of(modal, "L40S")
    resource = launch("gpu-second-1", instead=(second,))
    assert resource.price_usd_per_hour == pytest.approx(second.price_usd_per_hour)
    misbehave(cloud, do="no-capacity")
    cloud.crash(resource.name)
    with asking(modal, resource, "/health"):
        wait_until(lambda: modal.describe(resource.resource_id).detail.startswith("1 container pending"))
        assert modal.describe(resource.resource_id).price_usd_per_hour == 0.0


def test_a_server_is_described_like_a_function(modal: ModalProvider, launch: Launch) -> None:
    resource = launch("gpu-server-1", options={"endpoint": "server"}, idle_s=IDLE_S)
    token = modal.edge_key(Kind.SERVERLESS, resource.name)
    assert token
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    wait_until(lambda: httpx.get(f"{resource.endpoint}/health", headers=headers).status_code == 200)
    seen = modal.describe(resource.resource_id)
    assert (seen.state, seen.detail, seen.native_idle_s) == (ResourceState.RUNNING, "1 container running", IDLE_S)
    assert "conformance: up" in list(modal.logs(resource.resource_id))


def test_what_takes_its_time_to_stop_is_gone_when_modal_says_so_and_then_its_token_goes_too(
    cloud: ModalEmulator, modal: ModalProvider, launch: Launch
) -> None:
    resource = launch("gpu-slow-1")
    misbehave(cloud, do="delete-lag", seconds=1)
    modal.terminate(resource.resource_id)

    def is_gone() -> bool:
        try:
            modal.describe(resource.resource_id)
        except NotFound:
            return True
        return False

    wait_until(is_gone)
    assert not [one for one in cloud.live_containers() if one.function.app_id == resource.resource_id]
    assert modal.edge_key(Kind.SERVERLESS, resource.name)
    assert modal.edge_key(Kind.POD, resource.name) is None
    modal.forget(resource.name)
    assert modal.edge_key(Kind.SERVERLESS, resource.name) is None
    assert resource.name not in cloud.state()["proxy_tokens"]


def test_a_launch_of_which_nothing_is_known_afterwards_may_have_worked(
    cloud: ModalEmulator, modal: ModalProvider, launch: Launch
) -> None:
    misbehave(cloud, do="unavailable", call="get", after=1)  # the first is asked before it is deployed
    with pytest.raises(CreateUnknown, match="was deployed, but"):
        launch("gpu-unseen-1")
    with cloud.lock:
        cloud.misbehaviour.clear()
    assert modal.find("gpu-unseen-1")


def test_only_the_environment_that_is_configured_is_looked_at(
    cloud: ModalEmulator, modal: ModalProvider, sleeper: Resource, tmp_path: Path
) -> None:
    dev = provider_at(cloud, tmp_path, MODAL_ENVIRONMENT="dev")
    assert dev.find(sleeper.name) is None
    assert dev.list_resources() == []
    assert dev.account() != modal.account()


def test_no_volume_can_be_filled_from_here(modal: ModalProvider) -> None:
    with pytest.raises(InvalidRequest, match="S3"):
        modal.bucket(Volume("modal", "vo-1", "weights", 0, "", None))


@pytest.mark.parametrize("kind", [Kind.POD, Kind.VM, Kind.PROCESS])
def test_only_serverless_endpoints_are_offered(modal: ModalProvider, kind: Kind) -> None:
    search = Search(kind=kind)
    assert modal.offers(search) == ()
    assert kind in modal.why_no_offers(search)
    assert {offer.kind for offer in modal.offers(Search())} == {Kind.SERVERLESS}


WITHOUT_THE_SDK = """
import sys
from pathlib import Path
from gpu_providers.base import Kind, ProviderContext, Search
from gpu_providers.modal_cloud.provider import ModalProvider

folder, token_id, token_secret = sys.argv[1:]
environ = {"MODAL_TOKEN_ID": token_id, "MODAL_TOKEN_SECRET": token_secret}
provider = ModalProvider(ProviderContext(Path(folder), environ))
assert provider.offers(Search())
provider.edge_key(Kind.SERVERLESS, "gpu-x-1")
provider.account()
sys.exit("modal" in sys.modules)
"""


def test_a_plan_with_prices_of_today_does_not_need_the_sdk(cloud: ModalEmulator, modal: ModalProvider) -> None:
    assert modal.offers(Search())
    account = cloud.account.token_id, cloud.account.token_secret
    command = [sys.executable, "-c", WITHOUT_THE_SDK, str(modal.context.state_dir), *account]
    subprocess.run(command, check=True, timeout=PATIENCE_S)


NOBODY: Mapping[str, str] = {"HOME": "/nonexistent", "MODAL_CONFIG_PATH": "/nonexistent/modal.toml"}


def test_without_a_token_modal_is_not_asked_and_nothing_but_the_doctor_answers(tmp_path: Path) -> None:
    nobody = ModalProvider(ProviderContext(tmp_path, NOBODY))
    asks: list[Callable[[], object]] = [
        lambda: nobody.offers(Search()),
        lambda: nobody.find("gpu-x-1"),
        lambda: nobody.describe("ap-1"),
        lambda: nobody.terminate("ap-1"),
        nobody.list_resources,
        lambda: list(nobody.logs("ap-1")),
        nobody.account,
    ]
    for ask in asks:
        with pytest.raises(NoCredentials):
            ask()
    nobody.forget("gpu-x-1")
    assert nobody.edge_key(Kind.SERVERLESS, "gpu-x-1") is None
    assert nobody.balance_usd() is None
    assert [check.ok for check in nobody.check()] == [True]
