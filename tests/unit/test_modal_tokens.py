"""Proxy tokens are kept by this side, where only the user can read them, and go when their apps do."""

import stat
from collections.abc import Iterator
from pathlib import Path

import modal
import pytest
from emulators.modal_cloud import ModalEmulator

from gpu_providers.errors import InvalidRequest
from gpu_providers.modal_cloud.session import Session
from gpu_providers.modal_cloud.tokens import Tokens

NAME = "gpu-llama-0a1b2c"


@pytest.fixture(scope="module")
def emulated() -> Iterator[ModalEmulator]:
    with ModalEmulator(environments=("main", "prod"), restricted=("prod",)) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def client(emulated: ModalEmulator) -> Iterator[modal.Client]:
    session = Session({**emulated.env, "HOME": "/nowhere"})
    with session.call("open a client") as client:
        yield client
    session.close()


@pytest.fixture
def cloud(emulated: ModalEmulator, client: modal.Client) -> Iterator[ModalEmulator]:
    """Without the tokens of other tests."""
    yield emulated
    manager = modal.Workspace.from_context(client=client).proxy_tokens
    for token in manager.list():
        manager.delete(token.token_id)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "state" / "tokens")


def passes(cloud: ModalEmulator, token: str, environment: str = "main") -> bool:
    """Modal's edge lets it through."""
    return cloud.proxy_tokens.refusal({"authorization": f"Bearer {token}"}, environment, bearer=True) is None


def names(cloud: ModalEmulator) -> list[str]:
    return [token.name for token in cloud.proxy_tokens]


def test_a_token_opens_the_edge_and_has_the_name_of_its_app(
    cloud: ModalEmulator, client: modal.Client, tokens: Tokens
) -> None:
    token = tokens.create(client, NAME)
    assert passes(cloud, token.reveal())
    assert names(cloud) == [NAME]


def test_a_token_is_kept_where_only_the_user_can_read_it(
    cloud: ModalEmulator, client: modal.Client, tokens: Tokens
) -> None:
    token = tokens.create(client, NAME)
    assert tokens.read(NAME) == token
    assert stat.S_IMODE((tokens.folder / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(tokens.folder.stat().st_mode) == 0o700


def test_a_token_is_let_into_the_environment_that_is_named(
    cloud: ModalEmulator, client: modal.Client, tokens: Tokens
) -> None:
    assert not passes(cloud, tokens.create(client, NAME).reveal(), "prod")
    assert passes(cloud, tokens.create(client, NAME, "prod").reveal(), "prod")


def test_that_a_token_cannot_be_let_in_is_no_matter(cloud: ModalEmulator, client: modal.Client, tokens: Tokens) -> None:
    assert tokens.create(client, NAME, "no-such-environment") == tokens.read(NAME)


def test_nothing_is_known_of_what_was_never_made(tokens: Tokens) -> None:
    assert tokens.read(NAME) is None
    assert not tokens.is_given_up(NAME)
    assert tokens.read("../gpu-x") is None


def test_forgetting_deletes_all_tokens_of_the_name_and_no_other(
    cloud: ModalEmulator, client: modal.Client, tokens: Tokens
) -> None:
    for name in (NAME, NAME, "gpu-other-0a1b2c"):
        tokens.create(client, name)
    tokens.forget(client, NAME)
    assert names(cloud) == ["gpu-other-0a1b2c"]
    assert tokens.read(NAME) is None
    assert tokens.read("gpu-other-0a1b2c") is not None


def test_a_token_that_another_machine_has_made_is_deleted_as_well(
    cloud: ModalEmulator, client: modal.Client, tokens: Tokens, tmp_path: Path
) -> None:
    tokens.create(client, NAME)
    Tokens(tmp_path / "elsewhere").forget(client, NAME)
    assert names(cloud) == []


def test_without_modal_a_token_is_forgotten_here(cloud: ModalEmulator, client: modal.Client, tokens: Tokens) -> None:
    tokens.create(client, NAME)
    tokens.forget(None, NAME)
    assert tokens.read(NAME) is None
    assert names(cloud) == [NAME]


def test_what_could_not_be_deleted_at_modal_is_deleted_with_the_next_one(
    cloud: ModalEmulator, client: modal.Client, tokens: Tokens
) -> None:
    tokens.create(client, NAME)
    tokens.forget(None, NAME)
    assert tokens.names() == {NAME}
    tokens.create(client, "gpu-other-0a1b2c")
    assert tokens.names() == {NAME, "gpu-other-0a1b2c"}
    tokens.forget(client, "gpu-other-0a1b2c")
    assert names(cloud) == []
    assert tokens.names() == set()
    assert [*tokens.folder.iterdir()] == []


def test_a_token_that_is_given_up_is_deleted_and_that_is_kept_in_mind(
    cloud: ModalEmulator, client: modal.Client, tokens: Tokens
) -> None:
    tokens.create(client, NAME)
    tokens.give_up(client, NAME)
    assert names(cloud) == []
    assert tokens.read(NAME) is None
    assert tokens.is_given_up(NAME)
    tokens.forget(client, NAME)
    assert not tokens.is_given_up(NAME)


def test_a_token_that_cannot_be_kept_is_an_error_in_words(
    cloud: ModalEmulator, client: modal.Client, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("a file, where a folder should be")
    with pytest.raises(InvalidRequest, match="cannot be kept") as refused:
        Tokens(tmp_path / "tokens").create(client, NAME)
    assert "ws-" not in refused.value.message
