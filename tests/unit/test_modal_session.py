"""The way to Modal: one client of the real SDK, for whoever asks with a session, and errors that can be acted on."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import modal
import pytest
from emulators.modal_cloud import ModalEmulator
from google.protobuf.empty_pb2 import Empty
from grpclib import Status
from modal_proto import api_pb2
from scripted_modal import ANYBODY, ScriptedModal, refused

from gpu_providers.errors import (
    AuthError,
    InvalidRequest,
    NoCredentials,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from gpu_providers.modal_cloud.reach import BELIEVED_S
from gpu_providers.modal_cloud.session import THROTTLE_S, Session, rpc

NOBODY_LISTENS = "http://127.0.0.1:9"
AT_ONCE_S = 15
"""On a busy machine; the SDK alone takes a minute."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[ModalEmulator]:
    with ModalEmulator() as cloud:
        yield cloud


@pytest.fixture
def session(cloud: ModalEmulator) -> Iterator[Session]:
    with closing(Session(cloud.env)) as session:
        yield session


def failure(environ: dict[str, str]) -> ProviderError:
    with (
        closing(Session(environ)) as session,
        pytest.raises(ProviderError) as raised,
        session.call("say hello") as client,
    ):
        client.hello()
    return raised.value


def test_the_login_and_the_server_are_those_of_the_session_and_the_process_stays_as_it_is(session: Session) -> None:
    before = {name: value for name, value in os.environ.items() if name != "MODAL_MAX_THROTTLE_WAIT"}
    with session.call("say hello") as client:
        client.hello()
    assert {name: value for name, value in os.environ.items() if name != "MODAL_MAX_THROTTLE_WAIT"} == before


def test_a_session_has_one_client_whatever_the_number_of_threads(session: Session) -> None:
    together = threading.Barrier(4)

    def ask(_: int) -> int:
        together.wait()
        with session.call("say hello") as client:
            client.hello()
            return id(client)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(ask, range(4)))) == 1


def test_a_session_that_was_closed_opens_another_client(session: Session) -> None:
    with session.call("say hello") as first:
        pass
    session.close()
    session.close()
    with session.call("say hello") as second:
        second.hello()
    assert first.is_closed()


def test_what_modal_says_of_a_thing_in_the_block_is_an_error_of_ours(session: Session) -> None:
    with pytest.raises(NotFound, match="asked to stop gpu-x: "), session.call("stop gpu-x") as client:
        modal.App.lookup("gpu-x", client=client)


def test_an_error_of_ours_stays_what_it_is(session: Session) -> None:
    with pytest.raises(InvalidRequest, match="mine"), session.call("say hello"):
        raise InvalidRequest("mine")


def test_what_the_sdk_has_no_call_for_can_be_asked_all_the_same(session: Session) -> None:
    with session.call("say hello") as client:
        assert rpc(client, "ClientHello", Empty()).image_builder_version
        with pytest.raises(modal.exception.UnimplementedError):
            rpc(client, "SandboxList", api_pb2.SandboxListRequest())


def test_a_token_that_is_refused_is_told_with_where_to_get_another(cloud: ModalEmulator) -> None:
    error = failure({**cloud.env, "MODAL_TOKEN_SECRET": "as-wrong"})
    assert isinstance(error, AuthError)
    assert not isinstance(error, NoCredentials)
    assert "MODAL_TOKEN_ID" in error.hint


def test_without_a_login_nobody_is_asked() -> None:
    assert isinstance(failure({"MODAL_SERVER_URL": NOBODY_LISTENS}), NoCredentials)


def test_a_login_by_oauth_reaches_modal() -> None:
    oauth = {"REFRESH_TOKEN": "or-1", "CLIENT_ID": "oc-1", "CLIENT_SECRET": "ov-1"}
    with ScriptedModal(ClientHello=lambda _: api_pb2.ClientHelloResponse()) as server:
        environ = {f"MODAL_OAUTH_{name}": value for name, value in oauth.items()}
        environ["MODAL_SERVER_URL"] = server.environ["MODAL_SERVER_URL"]
        with closing(Session(environ)) as session, session.call("say hello") as client:
            client.hello()
    (metadata,) = server.admitted
    assert metadata["x-modal-refresh-token"] == "or-1"
    assert metadata["x-modal-oauth-client-secret"] == "ov-1"


# Whether anything answers


def test_nothing_that_answers_is_told_at_once() -> None:
    begun = time.monotonic()
    error = failure({**ANYBODY, "MODAL_SERVER_URL": NOBODY_LISTENS})
    assert isinstance(error, ProviderUnavailable)
    assert "does not answer (127.0.0.1:9)" in error.message
    assert time.monotonic() - begun < AT_ONCE_S


def test_one_server_of_several_is_enough(cloud: ModalEmulator) -> None:
    environ = {**cloud.env, "MODAL_SERVER_URL": f"{NOBODY_LISTENS}, {cloud.env['MODAL_SERVER_URL']}"}
    with closing(Session(environ)) as session, session.call("say hello") as client:
        client.hello()


def test_a_server_that_stops_answering_is_noticed_before_the_sdk_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedModal(ClientHello=lambda _: api_pb2.ClientHelloResponse()) as server:
        session = Session(server.environ)
        with session.call("say hello") as client:
            client.hello()
    much_later = time.monotonic() + BELIEVED_S
    monkeypatch.setattr("gpu_providers.modal_cloud.reach.time.monotonic", lambda: much_later)
    with closing(session), pytest.raises(ProviderUnavailable, match="does not answer"), session.call("say hello"):
        pass


def test_what_takes_too_long_is_not_waited_for(cloud: ModalEmulator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {**cloud.env, "MODAL_SERVER_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        began = time.monotonic()
        with (
            closing(Session(environ)) as session,
            pytest.raises(ProviderUnavailable, match="asked to say hello: no answer in time"),
            session.call("say hello", within_s=0.5) as client,
        ):
            client.hello()
    assert time.monotonic() - began < AT_ONCE_S


def test_what_was_not_waited_for_does_not_keep_modal_from_being_asked_again(session: Session) -> None:
    def hesitate(client: modal.Client) -> None:
        time.sleep(0.5)
        client.hello()

    with pytest.raises(ProviderUnavailable), session.call("say hello", within_s=0.1) as client:
        hesitate(client)
    with session.call("say hello") as client:
        client.hello()


def test_a_login_that_was_exchanged_is_the_one_that_counts(cloud: ModalEmulator) -> None:
    environ = {**cloud.env, "MODAL_TOKEN_ID": "ak-nobodys"}
    with closing(Session(environ)) as session:
        with pytest.raises(AuthError), session.call("say hello") as client:
            client.hello()
        environ["MODAL_TOKEN_ID"] = cloud.env["MODAL_TOKEN_ID"]
        with session.call("say hello") as client:
            client.hello()


@pytest.mark.parametrize("url", ["modal.com", "ftp://modal.com", "http://", "http://h:port", "http://[::1"])
def test_what_is_no_url_is_told(url: str) -> None:
    error = failure({**ANYBODY, "MODAL_SERVER_URL": url})
    assert isinstance(error, InvalidRequest)
    assert "MODAL_SERVER_URL" in error.hint


def test_a_proxy_that_modals_client_cannot_speak_to_is_told_with_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, cloud: ModalEmulator
) -> None:
    monkeypatch.setenv("http_proxy", NOBODY_LISTENS)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert "modal[api-proxy-support]" in failure(cloud.env).hint


@pytest.mark.parametrize("variable", [("no_proxy", "127.0.0.1"), ("MODAL_DISABLE_API_PROXY", "1")])
def test_a_proxy_that_is_not_for_modal_is_passed_by(
    monkeypatch: pytest.MonkeyPatch, cloud: ModalEmulator, variable: tuple[str, str]
) -> None:
    monkeypatch.setenv("http_proxy", NOBODY_LISTENS)
    monkeypatch.setenv(*variable)
    environ = cloud.env | dict([variable])
    with closing(Session(environ)) as session, session.call("say hello") as client:
        client.hello()


# What Modal says


def test_a_server_that_wants_to_be_left_alone_is_not_waited_for_without_end() -> None:
    policy = api_pb2.RPCRetryPolicy(retry_after_secs=THROTTLE_S)
    begun = time.monotonic()
    with ScriptedModal(ClientHello=refused(Status.RESOURCE_EXHAUSTED, "slowly", [policy])) as server:
        error = failure(server.environ)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == THROTTLE_S
    assert time.monotonic() - begun < AT_ONCE_S


def not_built(server: ScriptedModal) -> str:
    """How that is told of an image."""
    error = modal.exception.ImageBuildError("Image build for im-1 failed.", "im-1")
    with closing(Session(server.environ)) as session, pytest.raises(InvalidRequest) as raised, session.call("publish"):
        raise error
    return raised.value.message


def test_an_image_that_cannot_be_built_is_told_with_the_last_word_of_its_log() -> None:
    step = api_pb2.ImageBuildStep(image_id="im-1", builder_app_id="ap-1", builder_task_id="ta-1")
    logs = [api_pb2.TaskLogs(data="Step 1\n"), api_pb2.TaskLogs(data="pip: no such package\n\n")]
    answers = {
        "ImageBuildChainGet": lambda _: api_pb2.ImageBuildChainGetResponse(build_steps=[step]),
        "AppFetchLogs": lambda _: api_pb2.AppFetchLogsResponse(batches=[api_pb2.TaskLogsBatch(items=logs)]),
    }
    with ScriptedModal(**answers) as server:
        assert not_built(server).endswith("im-1 failed: pip: no such package")


def test_an_image_whose_log_cannot_be_had_is_told_all_the_same() -> None:
    with ScriptedModal() as server:
        assert not_built(server).endswith("im-1 failed")


def test_a_connection_that_breaks_says_nothing_of_what_was_asked(tmp_path: Path) -> None:
    with ScriptedModal() as server, closing(Session(server.environ)) as session:
        for broken in (ConnectionResetError(), TimeoutError()):
            with pytest.raises(ProviderUnavailable), session.call("say hello"):
                raise broken
        with pytest.raises(FileNotFoundError), session.call("say hello"):
            (tmp_path / "mine").read_text()
