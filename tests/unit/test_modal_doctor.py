"""What `gpu doctor` says about Modal."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from emulators.modal_cloud import ModalEmulator

from gpu_providers.base import Check
from gpu_providers.errors import ProviderUnavailable
from gpu_providers.modal_cloud.doctor import RATES, SEARCH, TOKEN, checks
from gpu_providers.modal_cloud.rates import LISTED, Rates
from gpu_providers.modal_cloud.session import Session

OF_THE_ACCOUNT = replace(LISTED, as_of=datetime(2026, 11, 1, tzinfo=UTC))
Found = dict[str, Check]


@pytest.fixture(scope="module")
def environ() -> Iterator[Mapping[str, str]]:
    with ModalEmulator() as cloud:
        yield cloud.env


def examine(environ: Mapping[str, str], rates: Callable[[], Rates] = lambda: OF_THE_ACCOUNT) -> Found:
    with closing(Session(environ)) as session:
        return {check.subject: check for check in checks(session, rates, tuple)}


def test_who_has_no_token_does_not_use_modal_and_that_is_no_trouble() -> None:
    found = examine({})
    assert list(found) == [TOKEN]
    assert found[TOKEN].ok
    assert "modal token new" in found[TOKEN].hint


def test_a_token_that_is_refused_ends_the_examination(environ: Mapping[str, str]) -> None:
    found = examine({**environ, "MODAL_TOKEN_SECRET": "as-wrong"})
    assert list(found) == [TOKEN]
    assert not found[TOKEN].ok
    assert found[TOKEN].message.startswith("MODAL_TOKEN_ID: ")


def test_a_file_of_modals_that_cannot_be_read_ends_it_too(environ: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "modal.toml").write_text("[broken")
    found = examine({**environ, "MODAL_CONFIG_PATH": str(tmp_path / "modal.toml")})
    assert list(found) == [TOKEN]
    assert not found[TOKEN].ok
    assert "modal.toml cannot be read" in found[TOKEN].message


def test_the_token_is_told_with_where_it_is_from_and_its_workspace(environ: Mapping[str, str]) -> None:
    found = examine(environ)
    assert all(check.ok for check in found.values())
    assert found[TOKEN].message.startswith("MODAL_TOKEN_ID: accepted, workspace ")
    assert found[RATES].message == "those of this account"
    assert SEARCH in found


def test_prices_that_are_not_told_are_those_of_the_list(environ: Mapping[str, str]) -> None:
    check = examine(environ, lambda: LISTED)[RATES]
    assert check.ok
    assert f"{LISTED.as_of:%Y-%m-%d}" in check.message


def test_prices_that_cannot_be_had_now_are_told(environ: Mapping[str, str]) -> None:
    def rates() -> Rates:
        raise ProviderUnavailable("Modal does not answer", hint="try again")

    check = examine(environ, rates)[RATES]
    assert (check.ok, check.message, check.hint) == (False, "Modal does not answer", "try again")
