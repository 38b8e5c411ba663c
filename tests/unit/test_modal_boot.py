"""Crash loops at Modal: what its logs tell of containers that end again and again."""

import pytest
from grpclib import Status
from scripted_workspace import INITIALIZING, SYSTEM, ScriptedApp, ScriptedWorkspace, container

from gpu_providers.base import ResourceState
from gpu_providers.errors import CommandCrashed
from gpu_providers.modal_cloud.boot import CRASHES, boot

HOUR_S = 3600.0
LAST_WORDS = "RuntimeError: CUDA error: out of memory"


def crash(app: ScriptedApp, *, ago_s: float = 1.0, status: int = 1, by: str = "both") -> None:
    """What a container leaves behind that crashed: the `entry` file's word, that of `modal`, or both."""
    app.writes("gpu: engine starts\n", "Traceback (most recent call last):\n", f"{LAST_WORDS}\n", ago_s=ago_s)
    if by != "modal":
        app.writes(f"gpu: engine ended with status {status}\n", ago_s=ago_s)
    if by != "entry":
        app.writes(f"Runner failed with exit code: {status}", ago_s=ago_s, source=SYSTEM)


def state_of(workspace: ScriptedWorkspace, app: ScriptedApp) -> tuple[ResourceState, str]:
    with workspace.asked() as apps:
        resource = apps.describe(app.id)
    return resource.state, resource.detail


@pytest.mark.parametrize("by", ["entry", "modal", "both"])
def test_an_app_whose_containers_crash_again_and_again_is_broken_and_its_last_words_are_quoted(by: str) -> None:
    app = ScriptedApp(containers=[container()])
    for number in range(CRASHES):
        crash(app, ago_s=100.0 - number, status=number + 1, by=by)
    state, detail = state_of(ScriptedWorkspace(app), app)
    assert state is ResourceState.BROKEN
    assert detail == f"crash loop: 3 containers crashed, the last with status 3: {LAST_WORDS}"


def test_a_crash_or_two_may_happen() -> None:
    app = ScriptedApp()
    for _ in range(CRASHES - 1):
        crash(app)
    assert state_of(ScriptedWorkspace(app), app) == (ResourceState.RUNNING, "no containers")


def test_crashes_of_long_ago_are_no_loop() -> None:
    app = ScriptedApp()
    for _ in range(CRASHES):
        crash(app, ago_s=HOUR_S + 10)
    crash(app)
    assert state_of(ScriptedWorkspace(app), app)[0] is ResourceState.RUNNING


def test_containers_that_modal_takes_down_are_no_crashes() -> None:
    app = ScriptedApp()
    for _ in range(5):
        app.writes("gpu: engine starts\n", "INFO: Application startup complete.\n")
        app.writes("gpu: engine ended with status 137\n")  # sometimes, as the engine is killed a moment earlier
    assert state_of(ScriptedWorkspace(app), app)[0] is ResourceState.RUNNING


def test_a_loop_without_telling_words_is_told_by_its_status() -> None:
    app = ScriptedApp()
    for _ in range(CRASHES):
        app.writes("gpu: engine starts\n")
        app.writes("Runner failed with exit code: 137", source=SYSTEM)
    assert state_of(ScriptedWorkspace(app), app)[1] == "crash loop: 3 containers crashed, the last with status 137"


def test_a_start_that_takes_longer_than_modal_waits_is_told_at_once() -> None:
    app = ScriptedApp()
    app.writes("Runner has been initializing for too long: 3600 seconds", source=SYSTEM)
    state, detail = state_of(ScriptedWorkspace(app), app)
    assert state is ResourceState.BROKEN
    assert "did not open" in detail


@pytest.mark.parametrize("rpc", ["AppCountLogs", "AppFetchLogs"])
def test_a_log_that_cannot_be_read_proves_nothing(rpc: str) -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    for _ in range(CRASHES):
        crash(app)
    workspace.refused[rpc] = Status.UNIMPLEMENTED
    assert state_of(workspace, app)[0] is ResourceState.RUNNING


def test_the_log_is_looked_at_once_in_a_while_and_what_was_seen_is_remembered() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp(), other := ScriptedApp("gpu-test-2", 2))
    for _ in range(CRASHES):
        crash(app)
    with workspace.asked(look_every_s=3600.0) as apps:
        assert apps.describe(app.id).state is ResourceState.BROKEN
        looks = workspace.calls.count("AppCountLogs")
        assert apps.describe(app.id).state is ResourceState.BROKEN
        assert workspace.calls.count("AppCountLogs") == looks
        assert apps.describe(other.id).state is ResourceState.RUNNING
        assert workspace.calls.count("AppCountLogs") > looks


def test_a_start_counts_as_running_from_the_first_as_a_request_is_what_starts_a_container() -> None:
    app = ScriptedApp(containers=[container(runs=False)])
    with ScriptedWorkspace(app).asked() as apps:
        told = boot(apps.describe(app.id), "a note")
        app.state = INITIALIZING
        on_its_way = boot(apps.describe(app.id), "")
    assert (told.running, told.detail, told.note) == (True, "1 container pending", "a note")
    assert not on_its_way.running


def test_a_start_that_crashes_again_and_again_is_over() -> None:
    app = ScriptedApp()
    for _ in range(CRASHES):
        crash(app)
    with ScriptedWorkspace(app).asked() as apps, pytest.raises(CommandCrashed, match="CUDA error"):
        boot(apps.describe(app.id), "")
