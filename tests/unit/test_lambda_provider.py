"""Lambda in our nouns, over real HTTP: what a launch sends, and what is found, believed, ended, forgotten and told."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from emulated_lambda import Caller
from emulators.lambda_cloud import LambdaEmulator
from lambda_account import offer_of, provider_at, request_of
from scripted_server import RESET, ScriptedServer, said

from gpu_providers.base import Boot, Link, Offer, ProviderContext, ResourceState, Search, Secret
from gpu_providers.errors import (
    CreateUnknown,
    HostFailed,
    InvalidRequest,
    NoCapacity,
    NoCredentials,
    NotFound,
    ProviderError,
    ProviderUnavailable,
)
from gpu_providers.lambda_cloud.machines import Machine, Machines
from gpu_providers.lambda_cloud.provider import POLL_VARIABLE, LambdaProvider

NAME = "gpu-test-1"
NO_KEY = {"LAMBDA_API_KEY": "", "HOME": "/nonexistent"}
SERVES = "import time; print('serving', flush=True); time.sleep(600)"
LAUNCH = "/api/v1/instance-operations/launch"


@pytest.fixture
def cloud() -> Iterator[LambdaEmulator]:
    with LambdaEmulator(engine="none", boot_s=60.0) as emulator:
        yield emulator


@pytest.fixture
def provider(cloud: LambdaEmulator, tmp_path: Path) -> LambdaProvider:
    return provider_at(cloud, tmp_path)


@pytest.fixture
def offer(provider: LambdaProvider) -> Offer:
    return offer_of(provider)


@pytest.fixture
def machines(provider: LambdaProvider) -> Machines:
    """What the provider knows."""
    return Machines(provider.context.state_dir / "machines")


def launched(cloud: LambdaEmulator) -> list[Any]:
    """The bodies of all launches so far."""
    return [request.json() for request in cloud.requests if request.path == LAUNCH]


def parcel_of(machines: Machines) -> dict[str, Any]:
    parcel = machines.parcel(NAME)
    assert parcel is not None
    return dict(json.loads(parcel.reveal()))


def known(machines: Machines) -> Machine:
    machine = machines.get(NAME)
    assert machine is not None
    return machine


def nothing_is_kept(provider: LambdaProvider) -> bool:
    return not [path for path in (provider.context.state_dir / "machines").rglob("*") if path.is_file()]


def until_up(provider: LambdaProvider, resource_id: str) -> Boot:
    deadline = time.monotonic() + 20
    while not (boot := provider.boot(resource_id)).running:
        assert time.monotonic() < deadline, boot.detail
        time.sleep(provider.poll_interval_s)
    return boot


# What a launch sends


def test_a_launch_asks_for_the_offer_by_a_name_with_our_labels(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    made = provider.launch(request_of(offer))
    (body,) = launched(cloud)
    assert (body["name"], body["instance_type_name"], body["region_name"]) == (NAME, "gpu_1x_h100_sxm5", offer.region)
    assert body["image"] == {"family": "lambda-stack-24-04"}
    assert body["file_system_mounts"] == []
    assert {"key": "gpu-cli:deadline-at", "value": "1800000000.5"} in body["tags"]
    assert "firewall_rulesets" not in body
    assert (made.resource_id, made.state, made.price_usd_per_hour) == (
        cloud.instances.named(NAME).id,
        ResourceState.STARTING,
        offer.price_usd_per_hour,
    )


def test_a_machine_lets_in_our_key_and_shows_the_host_key_that_is_pinned_here(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer, machines: Machines
) -> None:
    provider.launch(request_of(offer))
    order, machine = cloud.order(NAME), known(machines)
    own = subprocess.run(["ssh-keygen", "-y", "-f", machine.identity], capture_output=True, text=True, check=True)
    planted = yaml.safe_load(order.user_data)["ssh_keys"]["ed25519_public"]
    assert own.stdout.split()[:2] == order.public_key.split()[:2]
    assert machine.identity == provider.context.state_dir / provider.account() / "id_ed25519"
    assert machines.known_hosts(NAME).read_text() == f"{NAME} {planted}\n"


def test_what_it_is_to_run_and_all_secrets_stay_here_until_it_is_up(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer, machines: Machines
) -> None:
    provider.launch(request_of(offer, older_image="vllm/vllm-openai:v0.32.0-cu129", min_cuda_version="13.0"))
    (body,) = launched(cloud)
    assert "sk-of-the-engine" not in json.dumps(body)
    assert cloud.key not in json.dumps(body)
    assert parcel_of(machines)["env"] == {"GPU_SUPERVISOR": "{}", "VLLM_API_KEY": "sk-of-the-engine"}
    assert parcel_of(machines)["older_image"] == "vllm/vllm-openai:v0.32.0-cu129"


def test_the_users_own_ssh_key_is_used_where_the_recipe_names_one(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer, machines: Machines, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", mine], check=True)
    provider.launch(request_of(offer, options={"ssh_key": str(mine)}))
    assert known(machines).identity == mine
    assert cloud.order(NAME).public_key.split()[:2] == (tmp_path / "mine.pub").read_text().split()[:2]


def test_an_arm_machine_gets_an_image_of_its_architecture_by_its_id(
    cloud: LambdaEmulator, provider: LambdaProvider, machines: Machines
) -> None:
    provider.launch(request_of(offer_of(provider, "GH200")))
    (body,) = launched(cloud)
    (image,) = (one for one in Caller(cloud).data("/images") if one["id"] == body["image"]["id"])
    assert (image["architecture"], image["family"]) == ("arm64", "lambda-stack-24-04")
    assert image["region"]["name"] == body["region_name"]
    assert known(machines).architecture == "arm64"


def test_where_there_is_no_image_for_an_arm_machine_another_offer_is_tried(provider: LambdaProvider) -> None:
    offer = offer_of(provider, "GH200")
    with pytest.raises(NoCapacity, match="no image of gpu-base-24-04 for arm64"):
        provider.launch(request_of(offer, options={"image_family": "gpu-base-24-04"}))


def test_a_file_system_is_mounted_where_every_machine_has_it(
    cloud: LambdaEmulator, provider: LambdaProvider, machines: Machines
) -> None:
    volume = provider.create_volume("weights", 500, "us-south-2")
    provider.launch(request_of(offer_of(provider, volume="weights"), volume="weights"))
    (body,) = launched(cloud)
    assert body["file_system_mounts"] == [{"mount_point": provider.volume_path, "file_system_id": volume.volume_id}]
    assert parcel_of(machines)["volume"] == provider.volume_path
    assert [one.name for one in provider.volumes()] == ["weights"]


# Launches that fail


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"options": {"no_such_option": 1}}, "no_such_option"),
        ({"name": "llama"}, "llama"),
        ({"secret_env": {"HF_TOKEN": Secret("two\nlines")}}, "HF_TOKEN"),
        ({"volume": "nowhere"}, "nowhere"),
        ({"options": {"ssh_key": "/nowhere/id"}}, "/nowhere/id"),
    ],
    ids=["option", "name", "environment", "volume", "key"],
)
def test_what_cannot_be_is_refused_before_anything_is_ordered(
    changes: dict[str, Any], named: str, cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        provider.launch(request_of(offer, **changes))
    assert launched(cloud) == []
    assert nothing_is_kept(provider)


def test_a_refused_launch_leaves_nothing_here_either(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    cloud.misbehave({"do": "no-capacity"})
    with pytest.raises(NoCapacity):
        provider.launch(request_of(offer))
    assert [*cloud.instances] == []
    assert nothing_is_kept(provider)


def test_where_no_key_can_be_kept_nothing_is_ordered(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    (provider.context.state_dir / "machines").write_text("no folder")
    with pytest.raises(InvalidRequest, match="cannot be kept"):
        provider.launch(request_of(offer))
    assert launched(cloud) == []


def test_after_a_lost_answer_the_machine_is_found_and_can_be_set_up(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer, machines: Machines
) -> None:
    cloud.misbehave({"do": "reset", "call": "create", "when": "after", "times": 1})
    with pytest.raises(CreateUnknown):
        provider.launch(request_of(offer))
    assert known(machines).instance_id == ""
    found = provider.find(NAME)
    assert found is not None
    assert known(machines).instance_id == found.resource_id
    assert parcel_of(machines)["env"]["VLLM_API_KEY"] == "sk-of-the-engine"


# A machine that is to be reached from outside

NONE, KEY = said({"data": []}), said({"data": {"id": "1", "name": "gpu-cli-1", "public_key": "ssh-ed25519 AAAA"}})
RULESET, DELETED = said({"data": {"id": "c4d291f4", "name": NAME}}), said({"data": {}})
SOLD_OUT = said({"error": {"code": "instance-operations/launch/insufficient-capacity", "message": ""}}, 400)
ORDERED = said({"data": {"instance_ids": ["0920582c"]}})


def at(server: ScriptedServer, folder: Path) -> LambdaProvider:
    environ = {"GPU_LAMBDA_API_URL": server.url, "LAMBDA_API_KEY": "secret_test_0123", POLL_VARIABLE: "0.1"}
    return LambdaProvider(ProviderContext(folder / "lambda", environ))


def asked(server: ScriptedServer) -> list[str]:
    return [f"{one.method} {one.path}" for one in server.asked]


def test_a_public_machine_has_a_firewall_of_its_own_from_its_launch_to_its_end(offer: Offer, tmp_path: Path) -> None:
    with ScriptedServer(NONE, KEY, NONE, RULESET, ORDERED, DELETED) as server:
        provider = at(server, tmp_path)
        provider.launch(request_of(offer, public=True))
        launch = server.asked[-1]
        provider.forget(NAME)
    assert launch.body["firewall_rulesets"] == [{"id": "c4d291f4"}]
    assert asked(server)[3:] == [
        "POST /firewall-rulesets",
        "POST /instance-operations/launch",
        "DELETE /firewall-rulesets/c4d291f4",
    ]
    assert nothing_is_kept(provider)


def test_a_public_launch_that_is_refused_leaves_no_firewall(offer: Offer, tmp_path: Path) -> None:
    with ScriptedServer(NONE, KEY, NONE, RULESET, SOLD_OUT, DELETED) as server:
        provider = at(server, tmp_path)
        with pytest.raises(NoCapacity):
            provider.launch(request_of(offer, public=True))
    assert asked(server)[-1] == "DELETE /firewall-rulesets/c4d291f4"
    assert nothing_is_kept(provider)


def test_a_public_launch_without_a_firewall_is_no_launch(offer: Offer, tmp_path: Path) -> None:
    with ScriptedServer(NONE, KEY, NONE, RESET, NONE) as server:
        provider = at(server, tmp_path)
        with pytest.raises(ProviderUnavailable) as raised:
            provider.launch(request_of(offer, public=True))
    assert not isinstance(raised.value, CreateUnknown)
    assert "POST /instance-operations/launch" not in asked(server)
    assert nothing_is_kept(provider)


def test_after_a_lost_answer_the_firewall_stays_as_the_machine_may(offer: Offer, tmp_path: Path) -> None:
    with ScriptedServer(NONE, KEY, NONE, RULESET, RESET) as server:
        provider = at(server, tmp_path)
        with pytest.raises(CreateUnknown):
            provider.launch(request_of(offer, public=True))
    assert "DELETE /firewall-rulesets/c4d291f4" not in asked(server)
    assert known(Machines(provider.context.state_dir / "machines")).ruleset_id == "c4d291f4"


def test_only_its_user_gets_through_to_a_public_machine(tmp_path: Path) -> None:
    with LambdaEmulator(engine="none", boot_s=0.0) as cloud:
        provider = provider_at(cloud, tmp_path)
        made = provider.launch(request_of(offer_of(provider, public=True), public=True, command=("-c", SERVES)))
        booted = until_up(provider, made.resource_id)
        address = cloud.instances.named(NAME).machine.address
        assert booted.endpoint == provider.describe(made.resource_id).endpoint
        assert re.fullmatch(rf"http://{re.escape(address)}:\d+", booted.endpoint)
        (ruleset,) = Caller(cloud).data("/firewall-rulesets")
        assert ("127.0.0.1/32", [8000, 8000]) in [
            (rule["source_network"], rule.get("port_range")) for rule in ruleset["rules"]
        ]
        provider.terminate(made.resource_id)
        provider.forget(NAME)
        assert Caller(cloud).data("/firewall-rulesets") == []
    assert nothing_is_kept(provider)


@pytest.mark.parametrize("code", ["firewall-rulesets/firewall-ruleset-in-use", "global/invalid-api-key"])
def test_forgetting_never_fails(code: str, offer: Offer, tmp_path: Path) -> None:
    reply = said({"error": {"code": code, "message": ""}}, 400)
    with ScriptedServer(NONE, KEY, NONE, RULESET, ORDERED, reply) as server:
        provider = at(server, tmp_path)
        provider.launch(request_of(offer, public=True))
        provider.forget(NAME)
    assert nothing_is_kept(provider)


def test_what_is_kept_of_a_machine_is_told_until_it_is_forgotten(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    assert provider.kept() == set()
    provider.launch(request_of(offer))
    assert provider.kept() == {NAME}
    provider.forget(NAME)
    assert provider.kept() == set()


def test_forgetting_asks_nobody_where_there_is_no_firewall(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer, tmp_path: Path
) -> None:
    provider.launch(request_of(offer))
    cloud.requests.clear()
    provider_at(cloud, tmp_path, **NO_KEY).forget(NAME)
    provider.forget("somebody's")
    assert cloud.requests == []
    assert nothing_is_kept(provider)


# What is found, and how it goes


def test_only_ours_are_listed_and_found_and_others_are_left_alone(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    caller = Caller(cloud)
    caller.add_key()
    theirs = [
        caller.launched(name=NAME, tags=[{"key": "team", "value": "research"}]),
        caller.launched(name="gpu-of-mine"),
        caller.launched(name="my-llama"),
    ]
    made = provider.launch(request_of(offer))
    assert [resource.resource_id for resource in provider.list_resources()] == [made.resource_id]
    found = provider.find(NAME)
    assert found is not None
    assert found.resource_id == made.resource_id
    assert provider.find("my-llama") is None
    provider.terminate(made.resource_id)
    assert [instance.id for instance in cloud.instances] == theirs


def test_what_was_launched_from_here_is_listed_although_its_tags_are_not_shown(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    made = provider.launch(request_of(offer))
    cloud.misbehave({"do": "missing-fields", "fields": ["tags"]})
    assert [resource.resource_id for resource in provider.list_resources()] == [made.resource_id]


def test_what_labels_say_and_the_time_come_back_as_they_were_given(provider: LambdaProvider, offer: Offer) -> None:
    made = provider.launch(request_of(offer, labels={"recipe": 'lla\'ma "1"', "budget_usd": ""}))
    (found,) = provider.list_resources()
    assert found.labels == {"recipe": 'lla\'ma "1"'}
    assert abs((found.created_at - made.created_at).total_seconds()) < 1


def test_a_machine_without_an_address_is_booting(provider: LambdaProvider, offer: Offer) -> None:
    made = provider.launch(request_of(offer))
    boot = provider.boot(made.resource_id)
    assert (boot.running, boot.detail) == (False, "booting, without an address yet")
    assert provider.describe(made.resource_id).state is ResourceState.STARTING
    assert provider.ssh(NAME) is None


def test_how_to_log_in_is_known_once_lambda_has_told_the_address(offer: Offer, tmp_path: Path) -> None:
    with LambdaEmulator(engine="none", boot_s=0.0) as cloud:
        provider = provider_at(cloud, tmp_path, GPU_LAMBDA_SSH_PORT="2222", GPU_LAMBDA_SSH_USER="someone")
        made = provider.launch(request_of(offer))
        provider.describe(made.resource_id)
        address = cloud.instances.named(NAME).machine.address
    login = provider.ssh(NAME)
    assert login is not None
    assert (login.host, login.port, login.user, login.alias) == (address, 2222, "someone", NAME)


def test_a_machine_that_is_unhealthy_before_it_runs_anything_has_failed(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer
) -> None:
    cloud.misbehave({"do": "host-state", "text": "unhealthy"})
    made = provider.launch(request_of(offer))
    with pytest.raises(HostFailed, match="unhealthy"):
        provider.boot(made.resource_id)
    assert provider.describe(made.resource_id).state is ResourceState.BROKEN


def test_what_this_side_knows_is_for_every_process_of_it(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer, tmp_path: Path
) -> None:
    made = provider.launch(request_of(offer))
    another = provider_at(cloud, tmp_path)
    assert another.boot(made.resource_id).detail == "booting, without an address yet"


def test_a_machine_that_was_launched_elsewhere_can_be_told_and_ended_and_not_set_up(
    cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer, tmp_path: Path
) -> None:
    made = provider.launch(request_of(offer))
    elsewhere = provider_at(cloud, tmp_path / "elsewhere")
    assert elsewhere.describe(made.resource_id).name == NAME
    for ask in (elsewhere.boot, lambda each: list(elsewhere.logs(each))):  # no failure: it may well come up
        with pytest.raises(ProviderUnavailable, match="nothing is known here"):
            ask(made.resource_id)
    elsewhere.terminate(made.resource_id)
    assert [*cloud.instances] == []


@pytest.mark.parametrize("shows_terminated", [True, False])
def test_what_lambda_calls_terminated_is_gone(shows_terminated: bool, offer: Offer, tmp_path: Path) -> None:
    with LambdaEmulator(engine="none", shows_terminated=shows_terminated, boot_s=60.0) as cloud:
        provider = provider_at(cloud, tmp_path)
        made = provider.launch(request_of(offer))
        provider.terminate(made.resource_id)
        for ask in (provider.describe, provider.boot, lambda each: list(provider.logs(each))):
            with pytest.raises(NotFound):
                ask(made.resource_id)
        assert provider.find(NAME) is None
        provider.terminate(made.resource_id)


# Its own end


def test_a_machine_has_no_means_to_end_itself_and_no_key_unless_the_recipe_says_so(
    provider: LambdaProvider, offer: Offer, machines: Machines, cloud: LambdaEmulator
) -> None:
    assert provider.self_destruction({}) is None
    assert provider.self_destruction({"on_node_key": False}) is None
    provider.launch(request_of(offer))
    assert cloud.key not in json.dumps(parcel_of(machines))


def test_with_the_key_a_machine_ends_itself_and_sees_itself_gone(
    provider: LambdaProvider, offer: Offer, machines: Machines, cloud: LambdaEmulator
) -> None:
    options = {"on_node_key": True}
    made = provider.launch(request_of(offer, options=options))
    end = provider.self_destruction(options)
    assert end is not None
    assert end.credential_variables == ("GPU_LAMBDA_KEY",)
    assert end.headers == {"Authorization": "Bearer {GPU_LAMBDA_KEY}"}
    assert parcel_of(machines)["env"]["GPU_LAMBDA_KEY"] == cloud.key
    values = {"GPU_LAMBDA_INSTANCE": made.resource_id}

    def ask(method: str, url: str, body: str = "") -> Any:
        url, body = (re.sub(r"\{([A-Z_]+)\}", lambda found: values[found[1]], text) for text in (url, body))
        path = url.removeprefix(f"{cloud.url}/api/v1")
        return Caller(cloud)(method, path, json.loads(body) if body else None)

    def says_gone(answer: Any) -> bool:
        pattern = end.gone.get(answer.status_code)
        return pattern is not None and re.search(pattern, answer.text) is not None

    assert not says_gone(ask(end.check_method, end.check_url))
    assert ask(end.method, end.url, end.body).status_code == 200
    assert [*cloud.instances] == []
    assert says_gone(ask(end.check_method, end.check_url))
    assert says_gone(ask(end.method, end.url, end.body))
    cloud.shows_terminated = True
    assert says_gone(ask(end.check_method, end.check_url))


# The account


def test_endpoints_are_ports_of_the_machines_own_loopback(provider: LambdaProvider) -> None:
    assert provider.link is Link.SSH


def test_polling_is_as_slow_as_lambda_wants_it_unless_a_test_says_otherwise(tmp_path: Path) -> None:
    usual = LambdaProvider(ProviderContext(tmp_path, {}))
    assert (usual.poll_interval_s, usual.list_lag_s) == (10.0, 180.0)
    assert LambdaProvider(ProviderContext(tmp_path, {POLL_VARIABLE: "0.5"})).poll_interval_s == 0.5


def test_two_keys_are_two_accounts_and_no_account_tells_its_key(tmp_path: Path) -> None:
    first, second = (LambdaProvider(ProviderContext(tmp_path, {"LAMBDA_API_KEY": key * 64})) for key in "ab")
    assert first.account() == first.account() != second.account()
    assert first.account() not in "a" * 64


def test_without_a_key_the_account_is_not_used_and_nothing_but_the_doctor_answers(
    cloud: LambdaEmulator, tmp_path: Path
) -> None:
    provider = provider_at(cloud, tmp_path, **NO_KEY)
    asks: list[Callable[[], object]] = [provider.account, provider.list_resources, lambda: provider.offers(Search())]
    for ask in asks:
        with pytest.raises(NoCredentials):
            ask()
    assert provider.balance_usd() is None
    (check,) = provider.check()
    assert check.ok
    assert "LAMBDA_API_KEY" in check.hint
    assert cloud.requests == []


def test_the_doctor_finds_the_key_and_something_to_rent(provider: LambdaProvider) -> None:
    key, ssh_key, _, offers = provider.check()
    assert (key.ok, key.message) == (True, "LAMBDA_API_KEY: accepted")
    assert "first launch" in ssh_key.message
    assert re.fullmatch(r"\d+ offers, from \d\.\d{3} USD/h \(.+\)", offers.message)


def test_no_error_tells_a_secret(cloud: LambdaEmulator, provider: LambdaProvider, offer: Offer) -> None:
    cloud.misbehave({"do": "server-error", "call": "create"})
    with pytest.raises(ProviderError) as raised:
        provider.launch(request_of(offer))
    assert "sk-of-the-engine" not in f"{raised.value!r} {raised.value.hint}"
    assert cloud.key not in f"{raised.value!r} {raised.value.hint}"
