"""What another machine launched, or a record that was lost: found at its cloud, and put on record."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.inventory import take_inventory, take_inventory_of
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.node.supervised import labels_of
from gpu_cli.fleet.recover import adopt, adopted, described, take_over
from gpu_providers.base import Kind, Resource, Secret
from gpu_providers.errors import ProviderUnavailable


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setattr("gpu_providers.registry.available", lambda: {"cloud": None})
    fleet = make_fleet(tmp_path, cloud, FakeClock())
    yield fleet
    fleet.store.close()


def test_two_running_resources_of_one_name_are_both_put_on_record(fleet: Fleet, cloud: Cloud) -> None:
    first = adopt(fleet, cloud.add("gpu-tiny-1", name="tiny"))
    second = adopt(fleet, cloud.add("gpu-tiny-2", name="tiny"))
    assert first is not None
    assert second is not None
    assert (first.name, second.name) == ("tiny", "gpu-tiny-2")
    assert {one.resource_name for one in fleet.store.live()} == {"gpu-tiny-1", "gpu-tiny-2"}


def test_what_its_labels_say_is_what_it_was_launched_as(fleet: Fleet, cloud: Cloud) -> None:
    launched = deployment(budget_usd=5.0, deadline_at=NOW + 7000, idle_s=120.0, host="m1")
    made = adopt(fleet, cloud.add("gpu-tiny-1", **labels_of(launched)))
    assert made is not None
    said = (
        "name",
        "recipe",
        "model",
        "kind",
        "gpu",
        "gpu_count",
        "region",
        "host",
        "idle_s",
        "deadline_at",
        "budget_usd",
    )
    assert {name: getattr(made, name) for name in said} == {name: getattr(launched, name) for name in said}
    assert (made.tied, made.resource_id) == (False, "id-gpu-tiny-1")


def test_without_its_key_nobody_can_see_it_ready_so_its_deadline_is_what_ends_it(fleet: Fleet, cloud: Cloud) -> None:
    labels = labels_of(deployment(deadline_at=NOW + 7000))
    fleet.keys.create("gpu-own-1")
    own, strange = (adopt(fleet, cloud.add(f"gpu-{name}-1", **{**labels, "name": name})) for name in ("own", "strange"))
    assert own is not None
    assert strange is not None
    assert (own.start_deadline_at, strange.start_deadline_at) == (NOW + 3600, NOW + 7000)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "soon", ""])
def test_a_label_that_is_no_number_takes_away_no_limit(fleet: Fleet, cloud: Cloud, number: str) -> None:
    labels = dict.fromkeys(("idle_s", "deadline_at", "start_deadline_at", "budget_usd", "gpu_count"), number)
    made = adopt(fleet, cloud.add("gpu-tiny-1", name="tiny", **labels))
    assert made is not None
    assert (made.idle_s, made.budget_usd, made.gpu_count) == (900.0, None, 0)
    assert made.deadline_at == made.created_at + 86_400


def test_it_is_remembered_with_which_account_it_was_seen(fleet: Fleet, cloud: Cloud) -> None:
    cloud.credentials = "account-1"
    made = adopt(fleet, cloud.add("gpu-tiny-1"))
    assert made is not None
    assert made.account == "account-1"


def test_an_endpoint_without_workers_has_the_price_of_one_and_costs_nothing_before_it_is_watched() -> None:
    made = Cloud().add("gpu-tiny-1", kind="serverless")
    idle = replace(made, price_usd_per_hour=0.0, full_price_usd_per_hour=3.0, most_workers=4)
    found = described(idle, NOW)
    assert (found.kind, found.price_usd_per_hour, found.most_workers) == (Kind.SERVERLESS, 3.0, 4)
    assert found.spent_usd(NOW + 60) == 0
    assert found.metered_at == NOW


@pytest.mark.parametrize(("native_idle_s", "armed"), [(None, False), (120.0, True), (121.0, False)])
def test_the_clouds_own_end_of_idle_workers_counts_as_far_as_it_is_read_back(
    native_idle_s: float | None, armed: bool
) -> None:
    made = Cloud().add("gpu-tiny-1", kind="serverless", idle_s="120.0")
    assert described(replace(made, native_idle_s=native_idle_s), NOW).own_stop_armed is armed


def test_what_is_on_record_already_stays_as_it_is(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    assert adopted(fleet, cloud.add("gpu-tiny-1", name="another")) == deployment()


def test_what_should_have_ended_here_is_not_adopted(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW, reason="idle"))
    with pytest.raises(UserError, match="should have ended here") as raised:
        adopted(fleet, cloud.add("gpu-tiny-1"))
    assert raised.value.exit_status is Exit.BAD_INPUT
    assert fleet.store.live() == []


class Open(Cloud):
    """It shows the environment of what it runs."""

    shown: Mapping[str, str] = {}

    def environment(self, resource_id: str) -> Mapping[str, Secret]:
        assert resource_id in {one.resource_id for one in self.resources.values()}
        return {name: Secret(value) for name, value in self.shown.items()}


def test_where_a_cloud_shows_them_key_and_certificate_come_with_it(tmp_path: Path, fleet: Fleet) -> None:
    cloud = fleet._loaded["cloud"] = Open()
    made = fleet.certificates.create("gpu-tiny-1", NOW)
    pem = fleet.certificates.path("gpu-tiny-1").read_text()
    fleet.certificates.forget("gpu-tiny-1")
    cloud.shown = {"VLLM_API_KEY": "sk-made-elsewhere", "GPU_TLS": made.reveal(), "HF_TOKEN": "hf_none-of-ours"}
    taken = take_over(fleet, cloud.add("gpu-tiny-1", deadline_at=str(NOW + 7000)))
    key = fleet.keys.read("gpu-tiny-1")
    assert key is not None
    assert key.reveal() == "sk-made-elsewhere"
    assert fleet.certificates.path("gpu-tiny-1").read_text() == pem
    assert taken.start_deadline_at == NOW + 3600
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hf_none-of-ours" not in everything
    assert b"PRIVATE KEY" not in everything


def test_a_key_that_is_here_is_not_exchanged_for_what_a_cloud_shows(fleet: Fleet) -> None:
    cloud = fleet._loaded["cloud"] = Open()
    cloud.shown = {"VLLM_API_KEY": "sk-another"}
    own = fleet.keys.create("gpu-tiny-1")
    take_over(fleet, cloud.add("gpu-tiny-1"))
    assert fleet.keys.read("gpu-tiny-1") == own


@pytest.mark.parametrize("name", ["tiny", "gpu-tiny-1"])
def test_one_is_found_by_its_name_and_by_that_of_its_resource(fleet: Fleet, cloud: Cloud, name: str) -> None:
    made = cloud.add("gpu-tiny-1", name="tiny")
    cloud.add("gpu-other-1", name="other")
    assert take_inventory_of(fleet, name).the_one(name) == made
    assert take_inventory(fleet).the_one(name) == made


def test_nobody_is_called_what_nothing_is_called(fleet: Fleet, cloud: Cloud) -> None:
    cloud.add("gpu-tiny-1", name="tiny")
    assert take_inventory_of(fleet, "tin").the_one("tin") is None


def test_of_several_with_a_name_none_is_chosen(fleet: Fleet, cloud: Cloud) -> None:
    for number in (1, 2):
        cloud.add(f"gpu-tiny-{number}", name="tiny")
    with pytest.raises(UserError, match=r"gpu-tiny-1 \(cloud\), gpu-tiny-2 \(cloud\)") as raised:
        take_inventory_of(fleet, "tiny").the_one("tiny")
    assert raised.value.exit_status is Exit.BAD_INPUT


def test_what_may_be_where_nobody_answers_is_not_said_to_be_nowhere(fleet: Fleet, cloud: Cloud) -> None:
    cloud.trouble = ProviderUnavailable("it is down")
    with pytest.raises(UserError, match="cloud: it is down") as raised:
        take_inventory_of(fleet, "tiny").the_one("tiny")
    assert raised.value.exit_status is Exit.CLEANUP_UNCONFIRMED
    assert raised.value.still_billing == ("tiny",)


def test_a_resource_that_lists_hide_is_found_by_its_name(fleet: Fleet, cloud: Cloud) -> None:
    hidden: Resource = cloud.add("gpu-tiny-1")
    cloud.list_resources = list  # type: ignore[method-assign]
    assert take_inventory_of(fleet, "gpu-tiny-1").the_one("gpu-tiny-1") == hidden
