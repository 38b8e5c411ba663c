"""How Lambda's emulator launches and what it keeps, as Lambda has been seen or documented to; each test names one such
fact.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from emulated_lambda import H100, REGION, Caller, code
from emulators.lambda_cloud import LambdaEmulator
from emulators.lambda_cloud.bodies import FIELDS, TAG_KEY, place, wrong
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.sampled_from([*FIELDS, "key", "value", "mount_point", "file_system_id", "id", "family"])
ANYTHING: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def call() -> Iterator[Caller]:
    with LambdaEmulator(boot_s=0) as cloud:
        call = Caller(cloud)
        call.add_key()
        yield call


# Bodies


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"region_name": None}, "region_name"),
        ({"instance_type_name": None}, "instance_type_name"),
        ({"ssh_key_names": None}, "ssh_key_names"),
        ({"ssh_key_names": []}, "ssh_key_names"),
        ({"ssh_key_names": ["mine", "yours"]}, "ssh_key_names"),
        ({"name": "x" * 65}, "name"),
        ({"hostname": "Upper"}, "hostname"),
        ({"hostname": "-a"}, "hostname"),
        ({"image": "lambda-stack-24-04"}, "image"),
        ({"image": {"id": "a", "family": "b"}}, "image"),
        ({"tags": {"a": "b"}}, "tags"),
        ({"tags": [{"key": "Upper", "value": "b"}]}, "tags"),
        ({"tags": [{"key": "gpu", "value": "x" * 129}]}, "tags"),
        ({"tags": [{"key": "g" * 56, "value": ""}]}, "tags"),
        ({"user_data": "x" * 1_000_001}, "user_data"),
        ({"file_system_names": "a"}, "file_system_names"),
        ({"file_system_mounts": [{"mount_point": "/etc", "file_system_id": "a"}]}, "file_system_mounts"),
        ({"quantity": 2}, "quantity"),
    ],
)
def test_a_body_that_cannot_be_is_refused(call: Caller, more: dict[str, Any], complaint: str) -> None:
    refused = call.launch(**more)
    assert code(refused) == (400, "global/invalid-parameters")
    assert complaint in refused.json()["error"]["message"]
    assert call.listed() == []


@given(ANYTHING)
def test_whatever_the_body_is_there_is_an_answer(body: object) -> None:
    refusal = wrong(body)
    assert refusal is None or refusal.status == 400
    assert isinstance(place(body), str)


@pytest.mark.parametrize("key", ["gpu-cli:deployment", "ab", "a1-:"])
def test_keys_of_tags_may_have_colons_and_dashes(key: str) -> None:
    assert TAG_KEY.fullmatch(key)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"region_name": "mars-1"}, "global/invalid-parameters"),
        ({"instance_type_name": "gpu_1x_h100"}, "global/object-does-not-exist"),
        ({"ssh_key_names": ["yours"]}, "global/object-does-not-exist"),
        ({"image": {"family": "lambda-stack-26-04"}}, "global/object-does-not-exist"),
        ({"file_system_names": ["nothing"]}, "global/object-does-not-exist"),
    ],
    ids=["region", "type", "key", "image", "filesystem"],
)
def test_what_does_not_exist_is_told_by_a_code_and_400(call: Caller, more: dict[str, Any], wanted: str) -> None:
    assert code(call.launch(**more)) == (400, wanted)


def test_an_image_has_to_be_there_for_the_region_and_the_architecture() -> None:
    with LambdaEmulator(boot_s=0, stock={"gpu_1x_gh200": ("us-east-3", "us-east-1")}) as cloud:
        call, gh200 = Caller(cloud), {"instance_type_name": "gpu_1x_gh200", "image": {"family": "lambda-stack-24-04"}}
        call.add_key()
        assert call.launch(**gh200, region_name="us-east-3").status_code == 200
        assert code(call.launch(**gh200, region_name="us-east-1")) == (400, "global/object-does-not-exist")
        arm = next(one for one in call.data("/images") if one["architecture"] == "arm64")
        assert call.launch(**gh200 | {"image": {"id": arm["id"]}}, region_name="us-east-3").status_code == 200
        assert code(call.launch(image={"id": arm["id"]})) == (400, "global/object-does-not-exist")


# Refusals


def test_where_no_capacity_is_listed_there_is_none(call: Caller) -> None:
    refused = call.launch(region_name="us-west-1")
    assert code(refused) == (400, "instance-operations/launch/insufficient-capacity")


def test_capacity_that_is_listed_may_be_refused(call: Caller) -> None:
    call.cloud.misbehave({"do": "no-capacity", "gpu": f"{H100}@{REGION}", "times": 1})
    listed = call.data("/instance-types")[H100]["regions_with_capacity_available"]
    assert REGION in [region["name"] for region in listed]
    assert code(call.launch()) == (400, "instance-operations/launch/insufficient-capacity")
    assert call.launch().status_code == 200


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [("no-funds", (403, "global/account-inactive")), ("spend-limit", (400, "global/quota-exceeded"))],
    ids=["no-funds", "spend-limit"],
)
def test_an_account_may_not_launch(call: Caller, rule: str, wanted: tuple[int, str]) -> None:
    call.cloud.misbehave({"do": rule})
    assert code(call.launch()) == wanted
    assert call.listed() == []


@pytest.mark.parametrize(
    ("rule", "answer"),
    [({"do": "server-error", "status": 502}, 502), ({"do": "timeout", "seconds": 0}, 504)],
    ids=["server-error", "timeout"],
)
def test_a_launch_whose_answer_is_lost_may_have_worked(call: Caller, rule: dict[str, Any], answer: int) -> None:
    call.cloud.misbehave({**rule, "call": "create", "when": "after"})
    assert call.launch().status_code == answer
    assert [instance["name"] for instance in call.data("/instances")] == ["gpu-a"]


def test_a_launch_may_be_reset_after_it_worked(call: Caller) -> None:
    call.cloud.misbehave({"do": "reset", "call": "create", "when": "after"})
    with pytest.raises(httpx.TransportError):
        call.launch()
    assert len(call.listed()) == 1


def test_names_are_not_unique(call: Caller) -> None:
    assert len({call.launched(), call.launched()}) == 2
    assert [instance["name"] for instance in call.data("/instances")] == ["gpu-a", "gpu-a"]


# File systems


def test_a_file_system_costs_by_what_is_on_it(call: Caller) -> None:
    made = call.made_file_system()
    assert (made["mount_point"], made["region"]["name"], made["is_in_use"]) == ("/lambda/nfs/weights", REGION, False)
    call.cloud.clock.advance(7200)
    assert call.cloud.bill()["usd"] == 0
    call.cloud.fill("weights", 730)
    call.cloud.clock.advance(3600)
    assert call.cloud.bill()["usd"] == pytest.approx(0.20, rel=1e-3)
    assert call.data("/file-systems")[0]["bytes_used"] == 730 * 2**30
    assert call("DELETE", f"/filesystems/{made['id']}").json() == {"data": {"deleted_ids": [made["id"]]}}
    assert call.data("/file-systems") == []


def test_a_file_system_that_an_instance_has_is_not_deleted(call: Caller) -> None:
    made = call.made_file_system()
    id_ = call.launched(file_system_names=["weights"])
    assert call.data("/file-systems")[0]["is_in_use"]
    assert code(call("DELETE", f"/filesystems/{made['id']}")) == (400, "filesystems/filesystem-in-use")
    call.terminate(id_)
    assert call("DELETE", f"/filesystems/{made['id']}").status_code == 200
    assert code(call("DELETE", f"/filesystems/{made['id']}")) == (404, "global/object-does-not-exist")


@pytest.mark.parametrize("point", ["/lambda/nfs/weights", "/lambda/nfs/volume"])
def test_a_file_system_is_mounted_where_it_is_said_or_where_it_would_be(call: Caller, point: str) -> None:
    made = call.made_file_system()
    mounts = [{"mount_point": point, "file_system_id": made["id"]}]
    more: dict[str, Any] = (
        {"file_system_names": ["weights"]} if point.endswith("weights") else {"file_system_mounts": mounts}
    )
    assert call.instance(call.launched(**more))["file_system_mounts"] == mounts


def test_a_file_system_serves_its_own_region_only(call: Caller) -> None:
    call.made_file_system(region="us-east-1")
    refused = call.launch(file_system_names=["weights"])
    assert code(refused) == (400, "instance-operations/launch/file-system-in-wrong-region")


@pytest.mark.parametrize(
    ("name", "region", "wanted"),
    [
        ("weights", REGION, "global/duplicate"),
        ("1st", REGION, "global/invalid-parameters"),
        ("x" * 61, REGION, "global/invalid-parameters"),
        ("other", "mars-1", "global/invalid-parameters"),
    ],
    ids=["duplicate", "name", "long", "region"],
)
def test_a_file_system_that_cannot_be_is_refused(call: Caller, name: str, region: str, wanted: str) -> None:
    call.made_file_system()
    assert code(call("POST", "/filesystems", {"name": name, "region": region})) == (400, wanted)


def test_an_account_has_24_file_systems_at_most(call: Caller) -> None:
    for number in range(24):
        call.made_file_system(f"fs-{number}")
    refused = call("POST", "/filesystems", {"name": "one-more", "region": REGION})
    assert code(refused) == (400, "global/quota-exceeded")
