"""What Modal's prices are: asked of Modal with its own SDK, kept for a day, and listed where it does not tell them."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from emulators.modal_cloud import ModalEmulator

from gpu_providers.errors import AuthError, NoCredentials, ProviderUnavailable
from gpu_providers.modal_cloud.rates import FRESH, LISTED, Rates, rates
from gpu_providers.modal_cloud.session import Session

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOTHING_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def emulated() -> Iterator[ModalEmulator]:
    with ModalEmulator() as cloud:
        yield cloud


@pytest.fixture
def cloud(emulated: ModalEmulator) -> Iterator[ModalEmulator]:
    yield emulated
    emulated.misbehaviour.clear()


@pytest.fixture
def opened(cloud: ModalEmulator) -> Iterator[Callable[..., Session]]:
    """Makes sessions, with other credentials or another server than those of the cloud, and ends them."""
    with ExitStack() as sessions:

        def opened(**env: str) -> Session:
            return sessions.enter_context(closing(Session({**cloud.env, **env})))

        yield opened


@pytest.fixture
def session(opened: Callable[..., Session]) -> Session:
    return opened()


def test_modal_itself_is_asked(session: Session, tmp_path: Path) -> None:
    told = rates(session, tmp_path / "modal", NOW)
    assert told.as_of == NOW
    assert told.usd_per_hour.items() >= LISTED.usd_per_hour.items()


def test_for_a_day_modal_is_not_asked_again(opened: Callable[..., Session], tmp_path: Path) -> None:
    told = rates(opened(), tmp_path, NOW)
    unreachable = opened(MODAL_SERVER_URL=NOTHING_LISTENS)
    assert rates(unreachable, tmp_path, NOW + FRESH) == told
    for other in (NOW + FRESH + timedelta(seconds=1), NOW - timedelta(seconds=1)):
        with pytest.raises(ProviderUnavailable):
            rates(unreachable, tmp_path, other)


def test_the_prices_of_one_account_are_not_those_of_another(opened: Callable[..., Session], tmp_path: Path) -> None:
    rates(opened(), tmp_path, NOW)
    with pytest.raises(AuthError):
        rates(opened(MODAL_TOKEN_ID="ak-stranger"), tmp_path, NOW)


def test_without_credentials_there_are_no_prices(tmp_path: Path) -> None:
    with pytest.raises(NoCredentials):
        rates(Session({"MODAL_CONFIG_PATH": str(tmp_path / "none.toml")}), tmp_path, NOW)


def test_an_account_that_may_not_see_the_billing_gets_the_list_and_is_not_asked_again_for_a_day(
    cloud: ModalEmulator, session: Session, tmp_path: Path
) -> None:
    cloud.misbehaviour.add({"do": "rates-refused", "times": 1})
    assert rates(session, tmp_path, NOW) == LISTED
    assert rates(session, tmp_path, NOW + timedelta(hours=1)) == LISTED
    assert rates(session, tmp_path, NOW + timedelta(days=2)).as_of > LISTED.as_of


@pytest.mark.parametrize(
    "damage",
    [
        {"usd_per_hour": {"cpu_hour_cost": 0.01}},
        {"usd_per_hour": {"cpu_hour_cost": "free", "mem_gib_hour_cost": -1}},
        {"usd_per_hour": []},
        {"as_of": "yesterday"},
        {"asked_at": None},
        None,
    ],
)
def test_what_was_kept_and_is_damaged_is_asked_again(
    session: Session, tmp_path: Path, damage: Mapping[str, object] | None
) -> None:
    told, file = rates(session, tmp_path, NOW), tmp_path / "rates.json"
    file.write_text("[" if damage is None else json.dumps({**json.loads(file.read_text()), **damage}))
    later = NOW + timedelta(hours=1)
    assert rates(session, tmp_path, later) == replace(told, as_of=later)


def test_a_folder_that_cannot_be_written_costs_only_time(session: Session, tmp_path: Path) -> None:
    (tmp_path / "modal").write_text("no folder")
    assert isinstance(rates(session, tmp_path / "modal", NOW), Rates)
