"""Apps of Modal as resources: which are ours, what state they are in and what they cost, asked of the control plane."""

import pytest
from grpclib import Status
from modal_proto import api_pb2
from scripted_workspace import (
    DISABLED,
    INITIALIZING,
    OURS,
    STOPPED,
    STOPPING,
    ScriptedApp,
    ScriptedWorkspace,
    container,
)

from gpu_providers.base import Resource, ResourceState
from gpu_providers.errors import AuthError, Incomplete, NotFound, ProviderError, ProviderUnavailable

H100_USD, L40S_USD = 4.3952, 4.3952 - 3.95 + 1.95
"""An hour of the container that was ordered, and of the same one with its second choice of cards."""


def described(app: ScriptedApp) -> Resource:
    with ScriptedWorkspace(app).asked() as apps:
        return apps.describe(app.id)


def listed(workspace: ScriptedWorkspace) -> list[str]:
    with workspace.asked() as apps:
        return [resource.name for resource in apps.all()]


# What it is


def test_an_app_is_described_by_what_its_launch_has_kept_with_it() -> None:
    tags = {**OURS, "gpu-cli.kind": "serverless", "gpu-cli.model": "meta_2Fllama", "team": "us"}
    resource = described(ScriptedApp(tags=tags))
    assert resource.name == "gpu-test-1"
    assert resource.state is ResourceState.RUNNING
    assert resource.endpoint == "https://x--gpu-test-1-serve.modal.run"
    assert resource.labels == {"name": "llama", "gpu": "H100", "kind": "serverless", "model": "meta/llama"}
    assert resource.created_at.timestamp() == 1_760_000_001


def test_how_long_an_idle_container_is_kept_and_how_many_there_may_be_is_read_back_as_it_is_now() -> None:
    settings = api_pb2.AutoscalerSettings(scaledown_window=120, max_containers=5)
    resource = described(ScriptedApp(settings=settings))
    assert resource.native_idle_s == 120
    assert resource.most_workers == 5


def test_containers_that_are_kept_without_requests_are_not_ended_when_idle() -> None:
    settings = api_pb2.AutoscalerSettings(scaledown_window=120, min_containers=1)
    assert described(ScriptedApp(settings=settings)).native_idle_s is None


def test_what_modal_does_not_say_of_its_containers_is_what_was_ordered() -> None:
    resource = described(ScriptedApp(settings=api_pb2.AutoscalerSettings()))
    assert resource.native_idle_s is None
    assert resource.most_workers == 2


# What it costs


@pytest.mark.parametrize(
    ("containers", "detail", "usd_per_hour"),
    [
        ([], "no containers", 0.0),
        ([container()], "1 container running", H100_USD),
        ([container(runs=False)], "1 container pending", 0.0),
        ([container("ta-1"), container("ta-2", runs=False)], "1 container running, 1 container pending", H100_USD),
        ([container("ta-1"), container("ta-2", "L40S")], "2 containers running", H100_USD + L40S_USD),
        ([container(gpu="GH200")], "1 container running", H100_USD),
    ],
    ids=["none", "one", "pending", "both", "of-two-cards", "of-an-unknown-card"],
)
def test_only_what_runs_costs_and_each_container_by_the_card_that_it_has(
    containers: list[api_pb2.TaskInfo], detail: str, usd_per_hour: float
) -> None:
    resource = described(ScriptedApp(containers=containers))
    assert resource.detail == detail
    assert resource.price_usd_per_hour == pytest.approx(usd_per_hour)


def test_another_card_costs_more_by_as_much_in_a_region_as_its_price_does() -> None:
    app = ScriptedApp(containers=[container(gpu="L40S", count=2)], tags={**OURS, "gpu-cli.region": "us-east"})
    assert described(app).price_usd_per_hour == pytest.approx(H100_USD - 2 * (3.95 - 1.95) * 1.75)


def test_where_nobody_knows_which_card_was_ordered_every_container_bills_as_ordered() -> None:
    app = ScriptedApp(containers=[container(gpu="L40S")], tags={"gpu-cli.name": "x", "gpu-cli.price": "4.3952"})
    assert described(app).price_usd_per_hour == pytest.approx(H100_USD)


def test_requests_are_told_beside_the_containers() -> None:
    assert described(ScriptedApp(containers=[container()], requests=2)).detail == "1 container running, 2 requests"
    assert described(ScriptedApp(requests=1)).detail == "no containers, 1 request"


@pytest.mark.parametrize("status", [Status.UNIMPLEMENTED, Status.INVALID_ARGUMENT, Status.NOT_FOUND])
def test_where_modal_does_not_tell_its_containers_apart_all_that_it_counts_bill_as_ordered(status: Status) -> None:
    app = ScriptedApp(containers=[container("ta-1", "L40S"), container("ta-2", runs=False)])
    workspace = ScriptedWorkspace(app)
    workspace.refused["TaskList"] = status
    with workspace.asked() as apps:
        resource = apps.describe(app.id)
    assert resource.price_usd_per_hour == pytest.approx(2 * H100_USD)
    assert resource.detail == "2 containers"


def test_where_modal_does_not_tell_the_card_of_a_container_it_bills_as_ordered() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp(containers=[container(gpu="L40S")]))
    workspace.refused["TaskGetInfo"] = Status.UNIMPLEMENTED
    with workspace.asked() as apps:
        assert apps.describe(app.id).price_usd_per_hour == pytest.approx(H100_USD)


# Whether it is there


@pytest.mark.parametrize("state", [STOPPED, DISABLED])
def test_an_app_that_has_ended_is_gone(state: int) -> None:
    with pytest.raises(NotFound, match=r"stopped|disabled"):
        described(ScriptedApp(state=state))


def test_an_app_that_is_stopping_is_gone_only_when_no_container_is_left() -> None:
    left = described(ScriptedApp(state=STOPPING, containers=[container()]))
    assert left.state is ResourceState.BROKEN
    assert left.detail == "stopping, 1 container running"
    assert left.price_usd_per_hour == pytest.approx(H100_USD)
    with pytest.raises(NotFound, match="stopping"):
        described(ScriptedApp(state=STOPPING))


def test_modals_word_that_an_app_is_stopped_is_not_enough_while_a_container_of_it_bills() -> None:
    left = described(ScriptedApp(state=STOPPED, containers=[container()]))
    assert (left.state, left.detail) == (ResourceState.BROKEN, "stopped, 1 container running")
    assert left.price_usd_per_hour > 0
    with pytest.raises(NotFound, match="stopped"):
        described(ScriptedApp(state=STOPPED))


def test_as_long_as_nobody_knows_what_is_left_of_it_a_stopping_app_is_there() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp(state=STOPPING))
    workspace.refused["TaskList"] = Status.UNIMPLEMENTED
    with workspace.asked() as apps:
        assert apps.describe(app.id).state is ResourceState.BROKEN


def test_an_app_on_its_way_is_starting_and_can_be_found_and_stopped() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp(state=INITIALIZING))
    with workspace.asked() as apps:
        found = apps.find(app.name)
        assert found
        assert (found.state, found.endpoint, found.native_idle_s) == (ResourceState.STARTING, "", None)
        apps.stop(found.resource_id)
        assert apps.find(app.name) is None
    assert workspace.stopped == [app.id]


@pytest.mark.parametrize("wanted", ["ap-" + "9" * 22, "gpu-other", "gpu-test-1"])
def test_only_an_id_that_modal_knows_describes_an_app(wanted: str) -> None:
    workspace = ScriptedWorkspace(ScriptedApp())
    with workspace.asked() as apps:
        with pytest.raises(NotFound):
            apps.describe(wanted)
        apps.stop(wanted)
    assert workspace.stopped == []


def test_what_has_ended_is_not_stopped_again() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp(state=STOPPED))
    with workspace.asked() as apps:
        apps.stop(app.id)
    assert workspace.stopped == []


def test_a_modal_that_fails_says_nothing_of_an_app() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    workspace.refused["AppGetInfo"] = Status.PERMISSION_DENIED
    with workspace.asked() as apps:
        for ask in (apps.describe, apps.stop):
            with pytest.raises(AuthError):
                ask(app.id)
    assert workspace.stopped == []


@pytest.mark.parametrize("rpc", ["AppGetTags", "FunctionGetById", "FunctionGetCurrentStats"])
def test_that_a_part_of_an_app_is_not_there_does_not_mean_that_the_app_is_gone(rpc: str) -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    workspace.refused[rpc] = Status.NOT_FOUND
    with workspace.asked() as apps, pytest.raises(ProviderUnavailable, match="not all of it"):
        apps.describe(app.id)


# Which are ours


def test_only_apps_with_our_prefix_and_our_mark_are_ours() -> None:
    strangers = [
        ScriptedApp("gpu-guard", 2, tags={}),
        ScriptedApp("gpu-burn", 3, tags={"team": "us"}),
        ScriptedApp("llama", 4),
        ScriptedApp("gpu-gone", 5, state=STOPPED),
    ]
    workspace = ScriptedWorkspace(ScriptedApp(), *strangers)
    assert listed(workspace) == ["gpu-test-1"]
    with workspace.asked() as apps:
        assert [apps.find(stranger.name) for stranger in strangers] == [None] * 4


def test_of_two_of_a_name_the_newer_one_is_found() -> None:
    older, newer = ScriptedApp(number=1, state=STOPPING, containers=[container()]), ScriptedApp(number=2)
    with ScriptedWorkspace(newer, older).asked() as apps:
        found = apps.find("gpu-test-1")
    assert found
    assert found.resource_id == newer.id


def test_an_app_that_modal_does_not_tell_about_does_not_hide_the_others_nor_count_as_gone() -> None:
    apps = [ScriptedApp("gpu-one-1", 1), ScriptedApp("gpu-two-2", 2)]
    workspace = ScriptedWorkspace(*apps)
    workspace.refused_for["AppGetTags", apps[0].id] = Status.PERMISSION_DENIED
    with workspace.asked() as asked, pytest.raises(Incomplete) as raised:
        asked.all()
    assert [one.name for one in raised.value.known] == ["gpu-two-2"]


def test_where_modal_tells_about_no_app_nothing_is_concluded() -> None:
    workspace = ScriptedWorkspace(ScriptedApp())
    workspace.refused["AppGetTags"] = Status.PERMISSION_DENIED
    with workspace.asked() as apps:
        for ask in (apps.all, lambda: apps.find("gpu-test-1")):
            with pytest.raises(ProviderError):
                ask()


def test_an_app_that_ends_while_the_others_are_read_is_left_out() -> None:
    apps = [ScriptedApp("gpu-one-1", 1), ScriptedApp("gpu-two-2", 2)]
    workspace = ScriptedWorkspace(*apps)
    workspace.refused_for["AppGetInfo", apps[0].id] = Status.NOT_FOUND
    assert listed(workspace) == ["gpu-two-2"]


def test_an_app_in_a_state_that_the_sdk_does_not_know_is_told() -> None:
    workspace = ScriptedWorkspace(ScriptedApp(), ScriptedApp("derived", 2, state=api_pb2.APP_STATE_DERIVED))
    with workspace.asked() as apps, pytest.raises(ProviderUnavailable, match="unknown state") as raised:
        apps.all()
    assert "upgrade" in raised.value.hint


def test_a_list_that_modal_does_not_give_is_no_empty_list() -> None:
    workspace = ScriptedWorkspace(ScriptedApp())
    workspace.refused["AppList"] = Status.UNIMPLEMENTED
    with workspace.asked() as apps, pytest.raises(ProviderUnavailable):
        apps.all()
