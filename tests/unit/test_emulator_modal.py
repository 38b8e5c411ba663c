"""Modal's emulator behaves as Modal has been seen or documented to, for Modal's own client; each test names one such
fact.
"""

import importlib.util
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modal
import pytest
from emulators.modal_cloud import ModalEmulator
from modal.exception import AlreadyExistsError, AuthError, ConflictError, Error, NotFoundError, UnimplementedError
from repositories import commit_in

SOURCE = """
import os, time

def look():
    return dict(os.environ), os.getpid(), __file__

def fail():
    raise ValueError("so it is")

def hang():
    print("hangs", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def emulated() -> Iterator[ModalEmulator]:
    with ModalEmulator() as cloud:
        yield cloud


@pytest.fixture
def cloud(emulated: ModalEmulator, monkeypatch: pytest.MonkeyPatch) -> ModalEmulator:
    """The environment of this test points at it."""
    for name, value in emulated.env.items():
        monkeypatch.setenv(name, value)
    return emulated


@pytest.fixture
def client(cloud: ModalEmulator) -> Iterator[modal.Client]:
    with modal.Client.from_credentials(cloud.account.token_id, cloud.account.token_secret) as client:
        yield client


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[Any]:
    """A module of one file, as an app's functions come from."""
    yield from imported(tmp_path, SOURCE)


def imported(folder: Path, source: str) -> Iterator[Any]:
    (folder / "entry.py").write_text(source)
    spec = importlib.util.spec_from_file_location("entry", folder / "entry.py")
    assert spec
    assert spec.loader
    sys.modules["entry"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["entry"]


def deployed(client: modal.Client, function: Any, name: str = "app", **more: Any) -> tuple[modal.App, Any]:
    """An app with this function."""
    app = modal.App(name)
    made = app.function(image=modal.Image.debian_slim(python_version="3.12"), **more)(function)
    app.deploy(client=client)
    return app, made


# Who may call, and what is there


@pytest.mark.parametrize("wrong", [{"token_id": "ak-wrong"}, {"token_secret": "as-wrong"}])
def test_without_the_right_token_nothing_is_answered(cloud: ModalEmulator, wrong: dict[str, str]) -> None:
    token = {"token_id": cloud.account.token_id, "token_secret": cloud.account.token_secret} | wrong
    with modal.Client.from_credentials(**token) as stranger:
        for call in (stranger.hello, lambda: modal.Dict.objects.create("d", client=stranger)):
            with pytest.raises(AuthError):
                call()


def test_what_is_not_emulated_is_refused_as_not_implemented(client: modal.Client) -> None:
    with pytest.raises(UnimplementedError):
        modal.Queue.objects.create("q", client=client)


def test_dicts_and_secrets_have_names_that_are_free_again_once_they_are_deleted(client: modal.Client) -> None:
    for things, values in ((modal.Dict.objects, ()), (modal.Secret.objects, ({"KEY": "value"},))):
        things.create("name", *values, client=client)
        with pytest.raises(AlreadyExistsError):
            things.create("name", *values, client=client)
        things.create("name", *values, allow_existing=True, client=client)
        things.delete("name", client=client)
        with pytest.raises(NotFoundError):
            things.delete("name", client=client)


def test_a_dict_keeps_what_is_put_there(client: modal.Client) -> None:
    modal.Dict.objects.create("kept", client=client)
    modal.Dict.from_name("kept", client=client).update({"a": {"b": 1.5}, "c": None})
    again = modal.Dict.from_name("kept", client=client)
    assert [again.get("a"), again.get("c", "there"), again.get("d", "not there")] == [{"b": 1.5}, None, "not there"]


# Apps


def test_a_name_is_the_same_app_until_it_is_stopped(client: modal.Client, entry: Any) -> None:
    first, again = (deployed(client, entry.look)[0] for _ in range(2))
    assert first.app_id == again.app_id == modal.App.lookup("app", client=client).app_id
    again.stop(client=client)
    with pytest.raises(NotFoundError):
        modal.App.lookup("app", client=client)
    assert deployed(client, entry.look)[0].app_id != first.app_id


def test_the_client_tells_from_which_commit_an_app_is_deployed(
    cloud: ModalEmulator, client: modal.Client, entry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_in(tmp_path, monkeypatch)
    deployed(client, entry.look, "of-a-commit")
    (app,) = [one for one in cloud.apps.deployed() if one.name == "of-a-commit"]
    assert app.commit
    assert app.commit.author_email == "someone@example.com"


def test_what_is_stopped_is_not_called_any_more(client: modal.Client, entry: Any) -> None:
    app, look = deployed(client, entry.look, "stopped")
    app.stop(client=client)
    with pytest.raises(ConflictError, match="not deployed"):
        look.remote()


# Functions


def test_a_function_runs_apart_with_its_secrets_and_its_file_and_costs_until_its_container_ends(
    cloud: ModalEmulator, client: modal.Client, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_HOST", "1")
    modal.Secret.objects.create("of-look", {"KEY": "value"}, client=client)
    app, look = deployed(client, entry.look, "looks", secrets=[modal.Secret.from_name("of-look", client=client)])

    (environ, process, path), (_, process_again, _) = look.remote(), look.remote()

    assert (environ["KEY"], environ["MODAL_IS_REMOTE"], "OF_THE_HOST" in environ) == ("value", "1", False)
    assert cloud.account.token_secret not in environ.values()
    assert path.endswith("/root/entry.py")
    assert Path(path) != Path(entry.__file__)
    assert process == process_again  # it is kept warm
    (meter,) = [one for one in containers_billed(cloud) if one["name"] == "looks worker"]
    assert meter["alive"]
    app.stop(client=client)
    (meter,) = [one for one in until_settled(cloud) if one["name"] == "looks worker"]
    assert meter["usd"] > 0


def containers_billed(cloud: ModalEmulator) -> list[dict[str, Any]]:
    """Apps are on the bill as well, for nothing."""
    return [one for one in cloud.bill()["resources"] if one["name"].endswith(" worker")]


def until_settled(cloud: ModalEmulator) -> list[dict[str, Any]]:
    """The bill once no container costs any more."""
    give_up_at = time.monotonic() + 10
    while any(one["alive"] for one in containers_billed(cloud)) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    resources = containers_billed(cloud)
    assert not [one for one in resources if one["alive"]]
    return resources


def test_a_failure_comes_back_as_it_was_raised(client: modal.Client, entry: Any) -> None:
    _, fail = deployed(client, entry.fail, "fails")
    with pytest.raises(ValueError, match="so it is"):
        fail.remote()


def test_a_module_that_cannot_be_imported_there_fails_the_call(client: modal.Client, tmp_path: Path) -> None:
    source = "import os\nassert os.environ.get('MODAL_IS_REMOTE') != '1', 'not there'\ndef look(): pass"
    for module in imported(tmp_path, source):
        _, look = deployed(client, module.look, "broken")
        with pytest.raises((Error, AssertionError), match="not there"):
            look.remote()


def test_a_secret_that_is_gone_fails_the_call(client: modal.Client, entry: Any) -> None:
    modal.Secret.objects.create("brief", {}, client=client)
    _, look = deployed(client, entry.look, "secretless", secrets=[modal.Secret.from_name("brief", client=client)])
    modal.Secret.objects.delete("brief", client=client)
    with pytest.raises(Error, match=r"Secret .* not found"):
        look.remote()


def test_schedules_are_run_when_they_are_told_to_and_a_stop_ends_what_runs(
    cloud: ModalEmulator, client: modal.Client, entry: Any
) -> None:
    app, _ = deployed(client, entry.hang, "hangs", schedule=modal.Period(minutes=5))
    deployed(client, entry.look, "unscheduled")
    ran: list[Any] = []
    thread = threading.Thread(target=lambda: ran.extend(cloud.run_schedules()))
    thread.start()
    while not any("hangs" in container.log for container in cloud.containers_so_far):
        time.sleep(0.02)
    app.stop(client=client)
    thread.join()
    assert [(one.function, one.value, one.exception) for one in ran] == [("hang", None, "it was stopped")]
    assert cloud.run_schedules() == []


def test_the_cloud_leaves_no_process_behind(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with ModalEmulator() as cloud:
        for name, value in cloud.env.items():
            monkeypatch.setenv(name, value)
        with modal.Client.from_credentials(cloud.account.token_id, cloud.account.token_secret) as client:
            _, look = deployed(client, entry.look)
            _, process, path = look.remote()
    assert not Path(path).exists()
    assert not Path(f"/proc/{process}").exists()
