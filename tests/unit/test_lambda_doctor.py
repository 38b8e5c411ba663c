"""What `gpu doctor` says about Lambda."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from emulators.lambda_cloud import LambdaEmulator
from lambda_account import client_at

from gpu_providers.base import Check, Offer
from gpu_providers.errors import NoCredentials, ProviderUnavailable
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.doctor import KEY, SEARCH, SSH, SSH_KEY, checks
from gpu_providers.lambda_cloud.ssh_keys import own_key, register

Examine = Callable[..., dict[str, Check]]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LambdaClient]:
    with LambdaEmulator() as cloud:
        yield client_at(cloud.env["GPU_LAMBDA_API_URL"], tmp_path / "pace", cloud.key)


@pytest.fixture
def examine(client: LambdaClient, tmp_path: Path) -> Examine:
    """The checks by subject."""

    def examined(
        connect: Callable[[], LambdaClient] = lambda: client,
        search: Callable[[], Sequence[Offer]] = tuple,
        **environ: str,
    ) -> dict[str, Check]:
        environ = {"PATH": str(tmp_path / "bin"), "LAMBDA_API_KEY": "secret_x", **environ}
        return {check.subject: check for check in checks(environ, connect, lambda: tmp_path, search)}

    return examined


def test_who_has_no_key_does_not_use_lambda_and_that_is_no_trouble(examine: Examine) -> None:
    def connect() -> LambdaClient:
        raise NoCredentials("there is no API key for Lambda", hint="set LAMBDA_API_KEY")

    found = examine(connect)
    assert list(found) == [KEY]
    assert found[KEY].ok


def test_a_key_that_is_refused_ends_the_examination(tmp_path: Path, examine: Examine) -> None:
    with LambdaEmulator() as cloud:
        wrong = client_at(cloud.env["GPU_LAMBDA_API_URL"], tmp_path, "secret_wrong")
        found = examine(lambda: wrong)
    assert list(found) == [KEY]
    assert not found[KEY].ok
    assert "LAMBDA_API_KEY" in found[KEY].message


def test_it_is_said_where_the_key_is_from(examine: Examine) -> None:
    assert examine()[KEY].message == "LAMBDA_API_KEY: accepted"
    assert examine(LAMBDA_API_KEY=" ")[KEY].message == "~/.lambda_cloud/lambda_keys: accepted"


def test_the_ssh_key_is_followed_from_its_making_to_its_registration(
    client: LambdaClient, tmp_path: Path, examine: Examine
) -> None:
    assert "first launch" in examine()[SSH_KEY].message
    key = own_key(tmp_path)
    assert "next launch" in examine()[SSH_KEY].message
    register(client, key)
    assert examine()[SSH_KEY].message == f"{key.path}, registered as {key.name}"


def test_an_ssh_key_that_cannot_be_used_is_told(tmp_path: Path, examine: Examine) -> None:
    own_key(tmp_path).path.chmod(0o644)
    found = examine()[SSH_KEY]
    assert not found.ok
    assert found.hint.startswith("chmod 600")


def test_without_the_systems_ssh_no_endpoint_is_reached(tmp_path: Path, examine: Examine) -> None:
    missing = examine()[SSH]
    assert not missing.ok
    assert missing.hint
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert examine()[SSH] == Check(SSH, True, str(program))


def test_a_search_says_what_there_is_or_why_not(examine: Examine) -> None:
    def fail() -> Sequence[Offer]:
        raise ProviderUnavailable("no answer", hint="wait")

    assert examine()[SEARCH].message == "answered, with nothing to rent now"
    assert examine(search=fail)[SEARCH] == Check(SEARCH, False, "no answer", hint="wait")
