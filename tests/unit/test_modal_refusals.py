"""What the errors of Modal's client mean."""

import modal.exception
import pytest
from grpclib import GRPCError, Status
from hypothesis import given
from hypothesis import strategies as st
from modal._grpc_client import grpc_error_to_modal_exception
from modal_proto import api_pb2

from gpu_providers.errors import (
    AuthError,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from gpu_providers.modal_cloud.refusals import told

BUILD = "Image build for im-1 "


def of_the_client(status: Status, message: str) -> Exception:
    """As the client itself makes it of a status of gRPC."""
    return grpc_error_to_modal_exception(GRPCError(status, message))


@pytest.mark.parametrize(
    ("status", "message", "meaning"),
    [
        (Status.UNAUTHENTICATED, "Token ID is malformed or does not exist", AuthError),
        (Status.PERMISSION_DENIED, "Not allowed", AuthError),
        (Status.NOT_FOUND, "No App with ID ap-1", NotFound),
        (Status.NOT_FOUND, "App gpu-x not found in environment main", NotFound),
        (Status.NOT_FOUND, "Environment 'lab' not found", InvalidRequest),
        (Status.RESOURCE_EXHAUSTED, "Workspace spend limit reached", InsufficientFunds),
        (Status.RESOURCE_EXHAUSTED, "This would exceed your workspace's budget", InsufficientFunds),
        (Status.RESOURCE_EXHAUSTED, "Reached limit of 8 web endpoints", QuotaExceeded),
        (Status.INVALID_ARGUMENT, "Invalid GPU type: H900", NoCapacity),
        (Status.INVALID_ARGUMENT, "gpu_type is unknown", NoCapacity),
        (Status.INVALID_ARGUMENT, "Not enough GPUs in this region", NoCapacity),
        (Status.INVALID_ARGUMENT, "App name 'gpu-x' is too long", InvalidRequest),
        (Status.INVALID_ARGUMENT, "GPU_COMMAND cannot be set", InvalidRequest),
        (Status.OUT_OF_RANGE, "timeout", InvalidRequest),
        (Status.ALREADY_EXISTS, "gpu-models exists", InvalidRequest),
        (Status.FAILED_PRECONDITION, "The app is stopping", ProviderUnavailable),
        (Status.ABORTED, "Try again", ProviderUnavailable),
        (Status.UNAVAILABLE, "spend limit service is down", ProviderUnavailable),
        (Status.INTERNAL, "GPU pool: internal error", ProviderUnavailable),
        (Status.UNKNOWN, "", ProviderUnavailable),
        (Status.DATA_LOSS, "", ProviderUnavailable),
        (Status.UNIMPLEMENTED, "", ProviderUnavailable),
    ],
)
def test_a_status_of_modals_has_its_meaning(status: Status, message: str, meaning: type[ProviderError]) -> None:
    error = told(of_the_client(status, message), "do it")
    assert type(error) is meaning
    assert message in error.message
    assert error.hint or meaning is NotFound


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (modal.exception.ConnectionError("Could not connect to the Modal server."), ProviderUnavailable),
        (modal.exception.FunctionTimeoutError("late"), ProviderUnavailable),
        (modal.exception.RequestSizeError("large"), InvalidRequest),
        (modal.exception.VersionError("old"), ProviderUnavailable),
        (modal.exception.ClientClosed(1), ProviderUnavailable),
        (modal.exception.ImageBuildError(f"{BUILD}failed with the exception:\nno such tag", "im-1"), InvalidRequest),
        (modal.exception.ImageBuildError(f"{BUILD}terminated due to external shut-down.", "im-1"), ProviderUnavailable),
        (modal.exception.ImageBuildError(f"{BUILD}timed out.", "im-1"), ProviderUnavailable),
        (GRPCError(Status.UNAVAILABLE, "gone"), ProviderUnavailable),
    ],
)
def test_what_is_no_status_has_its_meaning_too(error: Exception, meaning: type[ProviderError]) -> None:
    assert type(told(error, "do it")) is meaning


def test_every_error_of_the_client_is_named_as_it_is_there() -> None:
    from gpu_providers.modal_cloud.refusals import _BY_CLASS

    assert all(issubclass(getattr(modal.exception, name), modal.exception.Error) for name in _BY_CLASS)


def test_to_be_asked_for_patience_is_no_limit_of_the_account() -> None:
    details = [api_pb2.RPCRetryPolicy(retry_after_secs=7)]
    asked = GRPCError(Status.RESOURCE_EXHAUSTED, "spend limit", details)
    error = told(grpc_error_to_modal_exception(asked), "do it")
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7


def test_the_error_says_what_was_asked_and_what_became_of_the_build() -> None:
    error = modal.exception.ImageBuildError(f"{BUILD}failed.", "im-1")
    assert told(error, "publish gpu-x", "E: no such package").message == (
        "Modal, asked to publish gpu-x: Image build for im-1 failed: E: no such package"
    )


@given(
    st.text(max_size=2000),
    st.sampled_from(["as-1234567890abcd", "ws-secretsecret", "hf_abcdefghijklmnop"]),
    st.text(max_size=50),
)
def test_no_error_quotes_a_secret_or_runs_on(before: str, secret: str, after: str) -> None:
    error = told(of_the_client(Status.INVALID_ARGUMENT, f"{before} {secret} {after}"), "do it")
    assert secret not in error.message
    assert len(error.message) < 500
    assert "\n" not in error.message
