"""Whose account at Modal it is: the token of the environment, else that of the active profile."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpu_providers.errors import AuthError, NoCredentials
from gpu_providers.modal_cloud.credentials import OAuth, Settings, Token
from gpu_providers.modal_cloud.session import Session

MINE = {"MODAL_TOKEN_ID": "ak-mine", "MODAL_TOKEN_SECRET": "as-mine"}
WORK = '[work]\ntoken_id = "ak-work"\ntoken_secret = "as-work"\nenvironment = "lab"\n'
HOME = '[home]\ntoken_id = "ak-home"\ntoken_secret = "as-home"\n'
OF_OAUTH = {
    "MODAL_OAUTH_REFRESH_TOKEN": "or-mine",
    "MODAL_OAUTH_CLIENT_ID": "oc-mine",
    "MODAL_OAUTH_CLIENT_SECRET": "ov-mine",
}


def keep(home: Path, text: str, **environ: str) -> dict[str, str]:
    (home / ".modal.toml").write_text(text)
    return {"HOME": str(home), **environ}


def token_id(environ: dict[str, str]) -> str:
    login = Settings(environ).login
    assert isinstance(login, Token)
    return login.token_id


def test_the_environment_counts_before_the_profile(tmp_path: Path) -> None:
    environ = keep(tmp_path, WORK + "active = true", **MINE)
    assert token_id(environ) == "ak-mine"
    assert Settings(environ).where == "MODAL_TOKEN_ID"
    assert Settings(environ).get("environment") == "lab"
    assert Settings({**environ, "MODAL_ENVIRONMENT": ""}).get("environment") == ""


def test_the_active_profile_counts_unless_another_is_named(tmp_path: Path) -> None:
    environ = keep(tmp_path, HOME + WORK + "active = true")
    assert token_id(environ) == "ak-work"
    assert Settings(environ).where == f"profile work of {tmp_path}/.modal.toml"
    assert token_id({**environ, "MODAL_PROFILE": "home"}) == "ak-home"


def test_the_profile_called_default_needs_not_be_active(tmp_path: Path) -> None:
    assert token_id(keep(tmp_path, HOME.replace("home", "default", 1))) == "ak-home"


def test_the_file_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "modal").write_text(WORK + "active = true")
    assert token_id({"MODAL_CONFIG_PATH": str(tmp_path / "modal")}) == "ak-work"


@pytest.mark.parametrize("environ", [{}, {"HOME": "/nowhere"}, {"HOME": "/dev/null"}, {"MODAL_TOKEN_ID": " "}])
def test_without_any_login_modal_is_not_used(environ: dict[str, str]) -> None:
    with pytest.raises(NoCredentials) as raised:
        Session(environ).account()
    assert "modal token new" in raised.value.hint


def test_a_profile_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoCredentials, match="MODAL_PROFILE names play"):
        Session(keep(tmp_path, WORK, MODAL_PROFILE="play")).account()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[mine]\ntoken_id ak-1", r"\.modal\.toml cannot be read: .*line 2"),
        ('token_id = "ak-1"', r"\.modal\.toml holds more than profiles"),
        (HOME + WORK, "none of them is active"),
        (HOME + "active = true\n" + WORK + "active = true", "more than one active profile: home, work"),
    ],
)
def test_a_file_that_cannot_be_followed_is_told(text: str, why: str, tmp_path: Path) -> None:
    """Modal's client fails on it, too, whatever the environment says."""
    with pytest.raises(AuthError, match=why) as raised:
        Session(keep(tmp_path, text, **MINE)).account()
    assert raised.value.hint
    assert not isinstance(raised.value, NoCredentials)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".modal.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(AuthError, match="cannot be read: UnicodeDecodeError"):
        Session({"HOME": str(tmp_path)}).account()


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"MODAL_TOKEN_ID": "ak-mine"}, "MODAL_TOKEN_SECRET is missing"),
        ({"MODAL_TOKEN_SECRET": "as-mine"}, "MODAL_TOKEN_ID is missing"),
        ({**OF_OAUTH, "MODAL_OAUTH_CLIENT_SECRET": ""}, "MODAL_OAUTH_CLIENT_SECRET is missing"),
        ({**MINE, **OF_OAUTH}, "both a token and an OAuth login"),
        ({**MINE, "MODAL_TOKEN_SECRET": "as mine"}, "characters that no key has"),
    ],
)
def test_half_a_login_is_told_and_quoted_nowhere(environ: dict[str, str], why: str) -> None:
    with pytest.raises(AuthError, match=why) as raised:
        Session(environ).account()
    assert "mine" not in str(raised.value)


def test_a_login_by_oauth_is_one() -> None:
    login = Settings(OF_OAUTH).login
    assert isinstance(login, OAuth)
    assert (login.refresh_token.reveal(), login.client_id, login.client_secret.reveal()) == tuple(OF_OAUTH.values())
    assert Settings(OF_OAUTH).where == "MODAL_OAUTH_REFRESH_TOKEN"


def test_an_account_is_told_from_others_by_its_token_and_its_environment() -> None:
    """An app is found by its name within an environment only."""
    logins = [
        MINE,
        {**MINE, "MODAL_TOKEN_ID": "ak-yours"},
        {**MINE, "MODAL_ENVIRONMENT": "lab"},
        OF_OAUTH,
        {**OF_OAUTH, "MODAL_OAUTH_REFRESH_TOKEN": "or-yours"},
    ]
    accounts = [Session(environ).account() for environ in logins]
    assert len({*accounts}) == len(logins)
    assert accounts[0] == Session({**MINE, "MODAL_TOKEN_SECRET": "as-another"}).account()
    assert not any("mine" in account for account in accounts)


def test_to_tell_the_account_nothing_of_modals_is_imported() -> None:
    code = (
        "import sys; from gpu_providers.modal_cloud.session import Session;"
        f"Session({MINE}).account();"
        "print(sorted({'modal', 'modal_proto', 'grpclib', 'asyncio', 'ssl', 'urllib.request'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
