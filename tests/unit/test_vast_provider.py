"""Vast.ai in our nouns, over real HTTP: what a launch sends, and what is found, believed, ended and told."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulated_vast import Caller
from emulators.vast import VastEmulator
from vast_account import offer_of, provider_at, request_of

from gpu_providers.base import Link, Offer, ProviderContext, ResourceState, Search
from gpu_providers.errors import (
    CommandCrashed,
    HostFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NoCredentials,
    NotFound,
    ProviderError,
)
from gpu_providers.vast.instance_answers import environment_of
from gpu_providers.vast.packing import unpack, unpack_labels
from gpu_providers.vast.provider import VastProvider

NO_KEY = {"VAST_API_KEY": "", "HOME": "/nonexistent"}


@pytest.fixture
def cloud() -> Iterator[VastEmulator]:
    with VastEmulator(engine="none", boot_s=0.0) as emulator:
        yield emulator


@pytest.fixture
def vast(cloud: VastEmulator, tmp_path: Path) -> VastProvider:
    return provider_at(cloud, tmp_path)


@pytest.fixture
def offer(vast: VastProvider) -> Offer:
    return offer_of(vast)


def creates(cloud: VastEmulator) -> list[Any]:
    """The bodies of all creates so far."""
    return [request.json() for request in cloud.requests if request.path.startswith("/api/v0/asks/")]


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def aged(offer: Offer) -> Offer:
    """As it is a minute later."""
    return replace(offer, prices_as_of=datetime.now(UTC) - timedelta(minutes=1))


# What a launch sends


def test_a_launch_asks_for_what_the_request_says_and_for_nothing_stopped(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    vast.launch(request_of(offer))
    (body,) = creates(cloud)
    wanted = {
        "client_id": "me",
        "image": "vllm/vllm-openai:v0.32.0",
        "disk": 65,
        "label": "gpu-test-1",
        "runtype": "args",
        "onstart": "/bin/sh",
        "cancel_unavail": True,
        "target_state": "running",
    }
    assert {name: body[name] for name in wanted} == wanted
    assert body["env"]["-p 8000:8000"] == "1"
    assert "price" not in body


def test_environment_secrets_and_command_travel_in_the_parcel_and_labels_beside_it(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    vast.launch(request_of(offer))
    (body,) = creates(cloud)
    env, command = unpack(body["env"])
    assert env == {"GPU_SUPERVISOR": "{}", "VLLM_API_KEY": "sk-of-the-engine"}
    assert command == ["python3", "-c", "print('hello world')"]
    assert unpack_labels(body["env"]).items() >= {"recipe": "llama", "deadline_at": "1800000000.5"}.items()
    assert "sk-of-the-engine" not in json.dumps(body)


def test_what_its_command_was_launched_with_can_be_read_back(vast: VastProvider, offer: Offer) -> None:
    environment = vast.environment(vast.launch(request_of(offer)).resource_id)
    assert environment["VLLM_API_KEY"].reveal() == "sk-of-the-engine"
    assert "sk-of-the-engine" not in repr(environment)


@pytest.mark.parametrize("extra_env", [None, [], [["GPU_BOX_000", "bm90IG91cnM="]], [["GPU_BOX_000", "?"]]])
def test_an_environment_that_is_not_ours_or_damaged_tells_nothing(extra_env: object) -> None:
    assert environment_of({"extra_env": extra_env}) == {}


def test_only_an_interruptible_offer_sends_a_price_and_that_is_the_bid(cloud: VastEmulator, vast: VastProvider) -> None:
    offers = vast.offers(Search(cards=("RTX-4090",), disk_gib=60, spot=True))
    spot = min((offer for offer in offers if offer.interruptible), key=lambda offer: offer.price_usd_per_hour)
    made = vast.launch(request_of(spot))
    (body,) = creates(cloud)
    assert body["price"] == spot.price_parts["gpu"]
    assert vast.describe(made.resource_id).price_usd_per_hour == pytest.approx(spot.price_usd_per_hour)


def test_a_launched_instance_costs_what_its_offer_said_by_vasts_own_word(vast: VastProvider, offer: Offer) -> None:
    made = vast.launch(request_of(offer))
    assert (made.state, made.endpoint, made.name) == (ResourceState.STARTING, "", "gpu-test-1")
    assert made.price_usd_per_hour == offer.price_usd_per_hour
    assert vast.describe(made.resource_id).price_usd_per_hour == pytest.approx(offer.price_usd_per_hour)


def test_a_launch_does_not_need_to_see_what_it_made(cloud: VastEmulator, vast: VastProvider, offer: Offer) -> None:
    cloud.misbehave({"do": "unseen", "seconds": 0.5})
    made = vast.launch(request_of(offer))
    assert made.resource_id.isdecimal()
    with pytest.raises(NotFound):
        vast.describe(made.resource_id)
    eventually(lambda: vast.find("gpu-test-1") is not None)


# An ask that has another number by now


def test_an_ask_that_is_gone_by_its_number_is_found_by_its_machine(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    cloud.change_ids()
    made = vast.launch(request_of(offer))
    machine = cloud.instances.named("gpu-test-1").terms.ask.machine
    assert str(machine.id) == offer.host
    assert made.price_usd_per_hour == pytest.approx(offer.price_usd_per_hour)
    assert len(creates(cloud)) == 2


@pytest.mark.parametrize("age", [timedelta(minutes=1), -timedelta(hours=1)], ids=["a minute", "a clock set back"])
def test_an_ask_of_another_time_is_looked_up_before_it_is_rented(
    cloud: VastEmulator, vast: VastProvider, offer: Offer, age: timedelta
) -> None:
    cloud.change_ids()
    vast.launch(request_of(replace(offer, prices_as_of=datetime.now(UTC) - age)))
    assert len(creates(cloud)) == 1


def test_an_ask_that_is_refused_under_its_new_number_too_is_no_capacity(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    cloud.misbehave({"do": "no-capacity"})
    with pytest.raises(NoCapacity):
        vast.launch(request_of(offer))
    assert len(creates(cloud)) == 2
    assert vast.find("gpu-test-1") is None


def test_a_price_that_has_risen_is_no_capacity_and_says_from_what_to_what(vast: VastProvider, offer: Offer) -> None:
    cheaper = replace(aged(offer), price_usd_per_hour=offer.price_usd_per_hour / 2)
    with pytest.raises(NoCapacity, match=r"rose from .* to "):
        vast.launch(request_of(cheaper))


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": "llama"}, "cannot be the name"),
        ({"name": "gpu-" + "x" * 300}, "cannot be the name"),
        ({"options": {"no_such_option": 1}}, "no_such_option"),
        ({"entrypoint": ()}, "entrypoint"),
        ({"env": {"GPU_NODE": "".join(map(str, range(30_000)))}}, "characters of environment"),
        ({"labels": {"name": "x" * 40_000}}, "characters of environment"),
    ],
)
def test_what_vast_could_not_take_is_refused_before_anything_is_sent(
    cloud: VastEmulator, vast: VastProvider, offer: Offer, changes: dict[str, Any], what: str
) -> None:
    asked = len(cloud.requests)
    with pytest.raises(InvalidRequest, match=what):
        vast.launch(replace(request_of(offer), **changes))
    assert len(cloud.requests) == asked


def test_a_refusal_holds_nothing_of_what_was_sent(cloud: VastEmulator, vast: VastProvider, offer: Offer) -> None:
    cloud.misbehave({"do": "no-funds"})
    with pytest.raises(InsufficientFunds) as raised:
        vast.launch(request_of(offer))
    told = f"{raised.value.message} {raised.value.hint}"
    assert not [secret for secret in ("sk-of-the-engine", cloud.key, "GPU_BOX") if secret in told]


# Whose is what


def test_only_ours_are_listed_and_found_and_others_are_left_alone(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    caller = Caller(cloud)
    theirs = [caller.rented(label="gpu-test-1"), caller.rented(label="my-llama")]
    made = vast.launch(request_of(offer))
    assert [resource.resource_id for resource in vast.list_resources()] == [made.resource_id]
    found = vast.find("gpu-test-1")
    assert found is not None
    assert found.resource_id == made.resource_id
    assert vast.find("my-llama") is None
    vast.terminate(made.resource_id)
    assert sorted(instance.id for instance in cloud.instances) == sorted(theirs)


def test_everything_is_listed_however_many_pages_there_are(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    vast.launch(request_of(offer))
    (body,) = creates(cloud)
    for number in range(2, 31):
        ask = next(iter(cloud.asks))
        cloud.instances.create(ask, {**body, "label": f"gpu-test-{number}"}, 65, cloud.boot_of("RTX 4090"))
    assert len(vast.list_resources()) == 30
    assert vast.find("gpu-test-30") is not None


def test_labels_come_back_as_they_were_given(vast: VastProvider, offer: Offer) -> None:
    vast.launch(request_of(offer, labels={"recipe": 'lla\'ma "1"', "budget_usd": ""}))
    (found,) = vast.list_resources()
    assert found.labels.items() >= {"recipe": 'lla\'ma "1"', "budget_usd": ""}.items()


@pytest.mark.parametrize("strange", ["", "gpu-test-1", "../users/current", "4242/../1", "-1", "0", "٣"])
def test_an_id_that_is_no_number_is_not_asked_for(cloud: VastEmulator, vast: VastProvider, strange: str) -> None:
    for ask in (vast.describe, vast.boot, lambda each: list(vast.logs(each))):
        with pytest.raises(NotFound):
            ask(strange)
    vast.terminate(strange)
    assert cloud.requests == []


# How it goes


def test_a_host_is_seen_to_pull_to_run_and_to_open_its_port(tmp_path: Path) -> None:
    with VastEmulator(engine="none", boot_s=0.4) as cloud:
        vast = provider_at(cloud, tmp_path)
        made = vast.launch(request_of(offer_of(vast)))
        first = vast.boot(made.resource_id)
        assert (first.running, first.endpoint) == (False, "")
        eventually(lambda: vast.boot(made.resource_id).running)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", vast.boot(made.resource_id).endpoint)
        assert vast.describe(made.resource_id).endpoint == vast.boot(made.resource_id).endpoint


@pytest.mark.parametrize(
    ("status", "error"),
    [("exited", CommandCrashed), ("unknown", HostFailed), ("offline", HostFailed), ("frozen", HostFailed)],
)
def test_a_start_that_comes_to_its_end_says_whether_it_was_the_host_or_the_command(
    cloud: VastEmulator, vast: VastProvider, offer: Offer, status: str, error: type[ProviderError]
) -> None:
    cloud.misbehave({"do": "host-state", "text": status})
    made = vast.launch(request_of(offer))
    eventually(lambda: cloud.instances.named("gpu-test-1").told_status == status)
    with pytest.raises(error):
        vast.boot(made.resource_id)


def test_an_instance_that_is_outbid_is_broken_and_says_so(cloud: VastEmulator, vast: VastProvider) -> None:
    offers = vast.offers(Search(cards=("RTX-4090",), disk_gib=60, spot=True))
    made = vast.launch(request_of(next(offer for offer in offers if offer.interruptible)))
    cloud.outbid("gpu-test-1")
    found = vast.describe(made.resource_id)
    assert (found.state, found.detail) == (ResourceState.BROKEN, "outbid: another renter pays more")
    with pytest.raises(HostFailed, match="outbid"):
        vast.boot(made.resource_id)


def test_an_account_without_credit_has_its_instances_stopped_and_is_told_why(tmp_path: Path) -> None:
    with VastEmulator(engine="none", boot_s=0.0, balance_usd=0.0000001) as cloud:
        vast = provider_at(cloud, tmp_path)
        made = vast.launch(request_of(offer_of(vast)))
        eventually(lambda: vast.describe(made.resource_id).state is ResourceState.BROKEN)
        assert "no credit left" in vast.describe(made.resource_id).detail


def test_a_disk_that_was_cut_is_a_failed_host(cloud: VastEmulator, vast: VastProvider, offer: Offer) -> None:
    cloud.misbehave({"do": "clipped-disk"})
    made = vast.launch(request_of(offer))
    with pytest.raises(HostFailed, match="33 GB of disk of the 65 GB"):
        vast.boot(made.resource_id)


# How it ends itself


def test_an_instance_ends_itself_with_its_own_key_and_sees_itself_gone(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    made = vast.launch(request_of(offer))
    end = vast.self_destruction({})
    assert end is not None
    assert end.credential_variables == ("CONTAINER_API_KEY",)
    own = cloud.instances.named("gpu-test-1").key
    values = {"CONTAINER_ID": made.resource_id, "CONTAINER_API_KEY": own}
    assert end.headers == {"Authorization": "Bearer {CONTAINER_API_KEY}"}
    path = end.url.format(**values).removeprefix(f"{cloud.url}/api")
    assert not _says_gone(end.gone, Caller(cloud, own)(end.check_method, path))
    assert Caller(cloud, own)(end.method, path).status_code == 200
    assert [*cloud.instances] == []
    assert _says_gone(end.gone, Caller(cloud)(end.method, path))
    assert _says_gone(end.gone, Caller(cloud)(end.check_method, path))


def test_a_key_that_vast_does_not_know_is_no_sign_that_the_instance_is_gone(
    cloud: VastEmulator, vast: VastProvider, offer: Offer
) -> None:
    made = vast.launch(request_of(offer))
    end = vast.self_destruction({})
    assert end is not None
    answer = Caller(cloud, "f" * 64)("DELETE", f"/v0/instances/{made.resource_id}/")
    assert answer.status_code == 404
    assert not _says_gone(end.gone, answer)


# The account


def test_endpoints_are_bare_ports_that_need_a_lock_of_their_own(vast: VastProvider) -> None:
    assert vast.link is Link.TLS


def test_polling_is_as_slow_as_vast_wants_it_unless_a_test_says_otherwise(tmp_path: Path) -> None:
    usual = VastProvider(ProviderContext(tmp_path, {}))
    assert (usual.poll_interval_s, usual.list_lag_s) == (10.0, 60.0)
    assert VastProvider(ProviderContext(tmp_path, {"GPU_VAST_POLL_S": "0.5"})).poll_interval_s == 0.5


def test_two_keys_are_two_accounts_and_no_account_tells_its_key(tmp_path: Path) -> None:
    first, second = (VastProvider(ProviderContext(tmp_path, {"VAST_API_KEY": key * 64})) for key in "ab")
    assert first.account() == first.account() != second.account()
    assert first.account() not in "a" * 64


def test_without_a_key_the_account_is_not_used_and_nothing_but_the_doctor_answers(
    cloud: VastEmulator, tmp_path: Path
) -> None:
    vast = provider_at(cloud, tmp_path, **NO_KEY)
    for ask in (vast.account, vast.list_resources, lambda: vast.offers(Search())):
        with pytest.raises(NoCredentials):
            ask()
    assert vast.balance_usd() is None
    (check,) = vast.check()
    assert check.ok
    assert "VAST_API_KEY" in check.hint
    assert cloud.requests == []


def test_the_balance_is_the_credit_and_nothing_when_the_cloud_does_not_tell(
    cloud: VastEmulator, vast: VastProvider
) -> None:
    assert vast.balance_usd() == pytest.approx(100.0)
    cloud.misbehave({"do": "edge-block"})
    assert vast.balance_usd() is None


# The doctor


def test_the_doctor_tells_the_key_the_credit_and_what_a_search_finds(vast: VastProvider) -> None:
    key, balance, search = vast.check()
    assert (key.ok, key.message) == (True, "VAST_API_KEY: accepted")
    assert (balance.ok, balance.message) == (True, "100.00 USD left")
    assert search.ok
    assert re.match(r"\d+ offers, from 0\.\d+ USD/h \(", search.message)


def test_the_doctor_tells_where_the_key_is_from_when_the_variable_is_blank(cloud: VastEmulator, tmp_path: Path) -> None:
    (tmp_path / ".vast_api_key").write_text(cloud.key)
    key, *_ = provider_at(cloud, tmp_path, VAST_API_KEY=" ", HOME=str(tmp_path)).check()
    assert (key.ok, key.message) == (True, "the key of Vast.ai's own tools: accepted")


def test_the_doctor_tells_a_key_that_is_refused(cloud: VastEmulator, tmp_path: Path) -> None:
    (check,) = provider_at(cloud, tmp_path, VAST_API_KEY="f" * 64).check()
    assert not check.ok
    assert check.hint


def test_the_doctor_tells_that_the_credit_is_used_up(tmp_path: Path) -> None:
    with VastEmulator(engine="none", balance_usd=0.0) as cloud:
        _, balance, _ = provider_at(cloud, tmp_path).check()
    assert (balance.ok, balance.message) == (False, "0.00 USD left")
    assert "add credit" in balance.hint


def test_the_doctor_tells_when_the_searches_of_today_are_used_up(cloud: VastEmulator, vast: VastProvider) -> None:
    cloud.misbehave({"do": "search-quota", "seconds": 3600})
    *_, search = vast.check()
    assert not search.ok
    assert "quota" in search.message
    assert "UTC" in search.hint


def _says_gone(gone: Any, answer: Any) -> bool:
    pattern = gone.get(answer.status_code)
    return pattern is not None and re.search(pattern, answer.text) is not None
