"""Where the key for RunPod comes from."""

from pathlib import Path

import pytest

from gpu_providers.errors import AuthError
from gpu_providers.runpod.credentials import api_key


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A home folder."""
    (tmp_path / ".runpod").mkdir()
    return tmp_path


def write_config(user: Path, text: str) -> dict[str, str]:
    (user / ".runpod/config.toml").write_text(text)
    return {"HOME": str(user)}


def test_the_environment_names_the_key() -> None:
    assert api_key({"RUNPOD_API_KEY": "rpa_env"}).reveal() == "rpa_env"


def test_white_space_around_the_key_is_no_part_of_it() -> None:
    assert api_key({"RUNPOD_API_KEY": " rpa_env\n"}).reveal() == "rpa_env"


@pytest.mark.parametrize(
    "text",
    [
        '[default]\napi_key = "rpa_file"\n',
        '[default]\napikey = "rpa_file"\n',
        'apikey = "rpa_file"\napiurl = "https://api.runpod.io/graphql"\n',
        'api_key = "rpa_file"\n',
        'apikey = ""\n[default]\napi_key = "rpa_file"\n',
    ],
)
def test_the_file_of_runpod_s_own_tools_is_read_in_both_spellings(text: str, user: Path) -> None:
    assert api_key(write_config(user, text)).reveal() == "rpa_file"


def test_the_environment_counts_before_the_file(user: Path) -> None:
    environ = write_config(user, '[default]\napi_key = "rpa_file"\n')
    assert api_key({**environ, "RUNPOD_API_KEY": "rpa_env"}).reveal() == "rpa_env"


@pytest.mark.parametrize("text", ["", "[default]\n", "default = 3\n", "[default]\napi_key = 7\n", '[other]\nx = "y"\n'])
def test_a_file_without_a_key_is_as_none(text: str, user: Path) -> None:
    with pytest.raises(AuthError, match="no API key"):
        api_key(write_config(user, text))


@pytest.mark.parametrize("environ", [{}, {"RUNPOD_API_KEY": ""}, {"HOME": "/nowhere"}, {"HOME": ""}])
def test_without_a_key_the_hint_names_the_variable_and_the_place(environ: dict[str, str]) -> None:
    with pytest.raises(AuthError) as caught:
        api_key(environ)
    assert "RUNPOD_API_KEY" in caught.value.hint
    assert "https://www.runpod.io/console/user/settings" in caught.value.hint


@pytest.mark.parametrize("text", ['api_key = "rpa_secret', b"\xff\xfe rpa_secret".decode("latin-1")])
def test_a_file_that_is_broken_is_named_and_not_quoted(text: str, user: Path) -> None:
    with pytest.raises(AuthError, match=r"config\.toml cannot be read") as caught:
        api_key(write_config(user, text))
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("key", ["rpa_a\nb", "rpa_a b", "rpa_ä", "rpa_\x00"])
def test_what_can_be_no_key_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(AuthError, match="characters that no key has") as caught:
        api_key({"RUNPOD_API_KEY": key})
    assert "rpa" not in f"{caught.value.message} {caught.value.hint}"
