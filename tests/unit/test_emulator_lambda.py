"""Lambda's emulator behaves as Lambda has been seen or documented to; each test names one such fact. Launches and file
systems have a file of their own.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from emulated_lambda import H100, PUBLIC_KEY, Caller, code
from emulators.lambda_cloud import LambdaEmulator
from emulators.lambda_cloud.catalogue import TYPES, images_for
from emulators.lambda_cloud.machine import Machine, Order
from emulators.lambda_cloud.specification import LAMBDA
from emulators.openapi import Conformance


@pytest.fixture
def call() -> Iterator[Caller]:
    with LambdaEmulator(boot_s=0) as cloud:
        call = Caller(cloud)
        call.add_key()
        yield call


@pytest.fixture
def booting() -> Iterator[Caller]:
    """Where a boot takes five minutes."""
    with LambdaEmulator(boot_s=300) as cloud:
        call = Caller(cloud)
        call.add_key()
        yield call


def minutes_billed(call: Caller) -> int:
    """All that was billed so far, in minutes of the H100."""
    return round(call.cloud.bill()["usd"] * 60 * 100 / TYPES[H100].cents)


# Keys, limits and bots


@pytest.mark.parametrize("key", ["-", "secret_wrong"])
def test_without_a_key_or_with_a_wrong_one_it_is_the_same_401(call: Caller, key: str) -> None:
    for path in ("/instances", "/instance-types", "/ssh-keys"):
        assert code(Caller(call.cloud, key)("GET", path)) == (401, "global/invalid-api-key")


@pytest.mark.parametrize("user_agent", ["Python-urllib/3.11", "python-requests/2.32", "python-httpx/0.28", ""])
def test_python_is_taken_for_a_bot_by_whoever_stands_in_front(call: Caller, user_agent: str) -> None:
    blocked = Caller(call.cloud, user_agent=user_agent)("GET", "/instances")
    assert (blocked.status_code, blocked.headers["content-type"].partition(";")[0]) == (403, "text/html")
    assert "Error 1010" in blocked.text


def test_an_account_may_ask_once_a_second_and_launch_once_in_twelve() -> None:
    with LambdaEmulator(boot_s=0, limits=True) as cloud:
        call = Caller(cloud)
        statuses = []
        for pause_s, path in ((0, "/ssh-keys"), (0, "/ssh-keys"), (1, "/instances"), (0.5, "/instances")):
            cloud.clock.advance(pause_s)
            statuses.append(call("GET", path).status_code)
        assert statuses == [200, 429, 200, 429]
        launches = []
        for pause_s in (1, 6, 6):
            cloud.clock.advance(pause_s)
            launches.append(call.launch().status_code)
        assert launches == [400, 429, 400]  # there is no SSH key


def test_too_many_requests_are_told_without_when_to_come_again() -> None:
    with LambdaEmulator(limits=True) as cloud:
        call = Caller(cloud)
        refused = [call("GET", "/instances") for _ in range(2)][1]
        assert refused.status_code == 429
        assert "retry-after" not in refused.headers


def test_by_default_nothing_is_limited(call: Caller) -> None:
    assert {call("GET", "/instances").status_code for _ in range(3)} == {200}


# What is for sale


def test_types_are_told_by_name_with_their_price_in_cents_and_regions(call: Caller) -> None:
    types = call.data("/instance-types")
    assert set(types) == set(TYPES)
    h100 = types["gpu_8x_h100_sxm5"]
    assert h100["instance_type"] == {
        "name": "gpu_8x_h100_sxm5",
        "description": "8x H100 (80 GB SXM5)",
        "gpu_description": "H100 (80 GB SXM5)",
        "price_cents_per_hour": 3192,
        "specs": {"vcpus": 208, "memory_gib": 1800, "storage_gib": 22528, "gpus": 8},
    }
    assert h100["regions_with_capacity_available"] == [{"name": "us-south-3", "description": "Central Texas, USA"}]
    assert types["gpu_1x_a100"]["regions_with_capacity_available"] == []
    assert types["cpu_4x_general"]["instance_type"]["gpu_description"] == "N/A"


def test_capacity_is_where_the_stock_says() -> None:
    with LambdaEmulator(stock={H100: ("us-east-1", "us-west-2"), "gpu_1x_gh200": ()}) as cloud:
        types = Caller(cloud).data("/instance-types")
        listed = [types[name]["regions_with_capacity_available"] for name in (H100, "gpu_1x_gh200", "gpu_1x_a10")]
        names = [[region["name"] for region in regions] for regions in listed]
        assert names == [["us-east-1", "us-west-2"], [], ["us-east-1", "us-west-1"]]


@pytest.mark.parametrize("stock", [{"gpu_1x_h100": ("us-east-1",)}, {H100: ("us-east-9",)}], ids=["type", "region"])
def test_a_stock_of_what_there_is_not_is_a_mistake(stock: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="there is no"):
        LambdaEmulator(stock=stock)


def test_images_come_in_one_row_for_each_region_and_arm_ones_are_rare(call: Caller) -> None:
    images = call.data("/images")
    arm = {(image["family"], image["region"]["name"]) for image in images if image["architecture"] == "arm64"}
    assert arm == {("lambda-stack-22-04", "us-east-3"), ("lambda-stack-24-04", "us-east-3")}
    assert len({image["id"] for image in images}) == len(images)
    assert "lambda-stack-24-04" in [image.family for image in images_for(H100, "us-south-2")]


# SSH keys


def test_ssh_keys_are_kept_by_unique_names(call: Caller) -> None:
    (key,) = call.data("/ssh-keys")
    assert (key["name"], key["public_key"]) == ("mine", PUBLIC_KEY)
    assert code(call.add_key()) == (400, "global/invalid-parameters")
    assert call("DELETE", f"/ssh-keys/{key['id']}").json() == {"data": {}}
    assert code(call("DELETE", f"/ssh-keys/{key['id']}")) == (404, "global/not-found")
    assert call.data("/ssh-keys") == []


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "public_key": PUBLIC_KEY},
        {"name": "x" * 65, "public_key": PUBLIC_KEY},
        {"name": "a"},
        {"name": "a", "public_key": "nonsense"},
        {"name": "a", "public_key": "ssh-rsa " + "x" * 4096},
        [],
    ],
    ids=["no-name", "long-name", "no-key", "nonsense", "long-key", "list"],
)
def test_an_ssh_key_that_is_none_is_refused(call: Caller, body: object) -> None:
    assert code(call("POST", "/ssh-keys", body)) == (400, "global/invalid-parameters")


# Boot


def test_an_instance_boots_and_has_an_address_before_it_is_active(booting: Caller) -> None:
    id_ = booting.launched()
    seen = []
    for seconds in (0, 200, 200):
        booting.cloud.clock.advance(seconds)
        instance = booting.instance(id_)
        seen.append((instance["status"], "ip" in instance, "jupyter_token" in instance))
    assert seen == [("booting", False, False), ("booting", True, False), ("active", True, True)]


def test_addresses_are_unique_and_come_back(call: Caller) -> None:
    one, other = call.launched(), call.launched()
    addresses = [call.instance(id_)["ip"] for id_ in (one, other)]
    assert len({*addresses}) == 2
    call.terminate(one)
    assert call.instance(call.launched())["ip"] == addresses[0]


def test_what_was_asked_for_is_shown_but_for_the_user_data(call: Caller) -> None:
    tags = [{"key": "gpu-cli:run", "value": "a b"}]
    shown = call.instance(call.launched(tags=tags, hostname="gpu-a", user_data="#cloud-config\nx: sesame\n"))
    assert (shown["name"], shown["hostname"], shown["tags"]) == ("gpu-a", "gpu-a", tags)
    assert shown["ssh_key_names"] == ["mine"]
    assert shown["instance_type"]["price_cents_per_hour"] == TYPES[H100].cents
    assert "sesame" not in str(shown)
    assert not [key for key in shown if "created" in key]


def test_the_machine_is_made_from_what_the_launch_says(call: Caller) -> None:
    call.launched(hostname="box", user_data="#cloud-config\n", image={"family": "lambda-stack-24-04"})
    order = call.cloud.order("gpu-a")
    assert (order.hostname, order.user_data, order.public_key) == ("box", "#cloud-config\n", PUBLIC_KEY)
    assert (order.image, order.type_name, order.region) == ("lambda-stack-24-04", H100, "us-south-2")


def test_a_machine_ends_with_its_instance_or_with_the_cloud() -> None:
    ended = []

    class Ending(Machine):
        def stop(self) -> None:
            ended.append(self.order.hostname)

    class Cloud(LambdaEmulator):
        def machine(self, order: Order, address: str) -> Machine:
            return Ending(order, address, self.boot_of(order.type_name), self.clock)

    with Cloud() as cloud:
        call = Caller(cloud)
        call.add_key()
        call.launched(hostname="late")
        call.terminate(call.launched(hostname="early"))
        assert ended == ["early"]
    assert ended == ["early", "late"]


def test_a_machine_may_boot_for_ever(booting: Caller) -> None:
    booting.cloud.misbehave({"do": "never-boots", "gpu": "@us-south-2"})
    id_ = booting.launched()
    booting.cloud.clock.advance(86_400)
    assert (booting.instance(id_)["status"], "ip" in booting.instance(id_)) == ("booting", False)
    assert booting.cloud.bill()["usd"] == 0


@pytest.mark.parametrize("status", ["unhealthy", "preempted", "meditating"])
def test_an_instance_may_fall_into_another_state(booting: Caller, status: str) -> None:
    booting.cloud.conformance = Conformance()  # the file does not know all of them
    booting.cloud.misbehave({"do": "host-state", "text": status, "seconds": 60})
    id_ = booting.launched()
    assert booting.instance(id_)["status"] == "booting"
    booting.cloud.clock.advance(61)
    assert booting.instance(id_)["status"] == status


# Money


def test_every_minute_that_began_since_it_was_active_is_billed(booting: Caller) -> None:
    id_ = booting.launched()
    booting.cloud.clock.advance(299)
    assert minutes_billed(booting) == 0
    booting.cloud.clock.advance(30)
    assert minutes_billed(booting) == 1
    booting.cloud.clock.advance(3600)
    assert minutes_billed(booting) == 61
    booting.terminate(id_)
    booting.cloud.clock.advance(3600)
    assert minutes_billed(booting) == 61
    (resource,) = booting.cloud.bill()["resources"]
    assert (resource["id"], resource["name"], resource["alive"]) == (id_, "gpu-a", False)


def test_an_unhealthy_instance_is_billed_as_well(booting: Caller) -> None:
    booting.cloud.misbehave({"do": "host-state", "text": "unhealthy", "seconds": 120})
    booting.launched()
    booting.cloud.clock.advance(180)
    assert minutes_billed(booting) == 2


# Lists


def test_a_list_may_lag_behind(call: Caller) -> None:
    old = call.launched()
    call.cloud.clock.advance(100)
    call.terminate(old)
    new = call.launched()
    assert call.listed() == [new]
    call.cloud.misbehave({"do": "list-lag", "seconds": 50})
    assert call.listed() == [old]


@pytest.mark.parametrize(("text", "got", "listed"), [("", 404, False), ("get", 404, True), ("list", 200, False)])
def test_a_fresh_instance_may_not_be_seen_yet(call: Caller, text: str, got: int, listed: bool) -> None:
    call.cloud.misbehave({"do": "unseen", "seconds": 60, "text": text})
    id_ = call.launched()
    assert (call("GET", f"/instances/{id_}").status_code, call.listed() == [id_]) == (got, listed)
    call.cloud.clock.advance(61)
    assert (call.instance(id_)["id"], call.listed()) == (id_, [id_])


# Ends


def test_what_is_terminated_is_neither_listed_nor_known(call: Caller) -> None:
    id_ = call.launched()
    ended = call.terminate(id_)
    assert [one["id"] for one in ended.json()["data"]["terminated_instances"]] == [id_]
    assert call.listed() == []
    for again in (call("GET", f"/instances/{id_}"), call.terminate(id_), call.terminate("0" * 32)):
        assert code(again) == (404, "global/object-does-not-exist")


def test_what_is_terminated_may_still_be_known_by_its_id() -> None:
    with LambdaEmulator(boot_s=0, shows_terminated=True) as cloud:
        call = Caller(cloud)
        call.add_key()
        id_ = call.launched()
        call.terminate(id_)
        assert (call.instance(id_)["status"], call.listed()) == ("terminated", [])
        assert code(call.terminate(id_)) == (404, "global/object-does-not-exist")


def test_an_end_may_take_its_time_or_not_be_one(call: Caller) -> None:
    call.cloud.misbehave({"do": "delete-lag", "seconds": 60, "times": 1}, {"do": "delete-204-stays", "after": 1})
    slow, stays = call.launched(), call.launched()
    assert [call.terminate(id_).status_code for id_ in (slow, stays)] == [200, 200]
    assert [call.instance(id_)["status"] for id_ in (slow, stays)] == ["terminating", "active"]
    assert not call.instance(slow)["actions"]["terminate"]["available"]
    assert call.terminate(slow).status_code == 200
    call.cloud.clock.advance(61)
    assert call.listed() == [stays]


def test_an_end_may_be_refused_for_now(call: Caller) -> None:
    call.cloud.misbehave({"do": "delete-locked", "times": 1})
    id_ = call.launched()
    assert code(call.terminate(id_)) == (409, "global/conflict")
    assert call.terminate(id_).status_code == 200


def test_nothing_ends_when_one_of_several_is_unknown(call: Caller) -> None:
    id_ = call.launched()
    assert code(call.terminate(id_, "0" * 32)) == (404, "global/object-does-not-exist")
    assert call.listed() == [id_]


@pytest.mark.parametrize("body", [{}, {"instance_ids": []}, {"instance_ids": "a"}, []])
def test_an_end_of_nothing_is_refused(call: Caller, body: object) -> None:
    refused = call("POST", "/instance-operations/terminate", body)
    assert code(refused) == (400, "global/invalid-parameters")


# As for every cloud


def test_an_unknown_path_is_an_error_of_the_cloud(call: Caller) -> None:
    assert code(call("GET", "/nothing")) == (404, "global/not-found")


def test_answers_may_lack_what_is_optional_and_have_unknown_words(call: Caller) -> None:
    id_ = call.launched()
    call.cloud.misbehave({"do": "missing-fields", "call": "get", "times": 1}, {"do": "unknown-enum", "call": "get"})
    sparse: dict[str, Any] = call.instance(id_)
    assert not {"ip", "tags", "jupyter_token"} & set(sparse)
    assert call.instance(id_)["status"] == "HIBERNATING"


def test_the_state_shows_what_exists(call: Caller) -> None:
    id_ = call.launched()
    state = httpx.get(f"{call.cloud.url}/_emulator/state").json()
    assert [instance["id"] for instance in state["instances"]] == [id_]


@pytest.mark.skipif(bool(Conformance(LAMBDA).skipped), reason=Conformance(LAMBDA).skipped or "checked")
def test_a_break_of_the_openapi_file_is_found(call: Caller) -> None:
    id_ = call.launched()
    with call.cloud.lock:
        instance = call.cloud.instances.named(id_)
        instance.told_status, instance.told_at = "meditating", 0.0
    call.instance(id_)
    with call.cloud.lock:
        (violation,) = call.cloud.conformance.violations
        call.cloud.conformance.violations.clear()
    assert "$.data.status: 'meditating' is not one of" in violation
