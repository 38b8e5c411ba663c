"""Where the key for Vast.ai comes from."""

from pathlib import Path

import pytest

from gpu_providers.errors import AuthError, NoCredentials
from gpu_providers.vast.credentials import api_key

CONFIG = ".config/vastai/vast_api_key"
OLD = ".vast_api_key"


def keep(home: Path, place: str, text: str) -> dict[str, str]:
    (home / place).parent.mkdir(parents=True, exist_ok=True)
    (home / place).write_text(text)
    return {"HOME": str(home)}


def test_the_environment_names_the_key() -> None:
    assert api_key({"VAST_API_KEY": " vast_env\n"}).reveal() == "vast_env"


@pytest.mark.parametrize("place", [CONFIG, OLD])
def test_the_files_of_vast_s_own_tools_are_read(place: str, tmp_path: Path) -> None:
    assert api_key(keep(tmp_path, place, "vast_file\n")).reveal() == "vast_file"


def test_the_folder_for_configuration_may_be_another(tmp_path: Path) -> None:
    keep(tmp_path, "elsewhere/vastai/vast_api_key", "vast_elsewhere")
    environ = {**keep(tmp_path, CONFIG, "vast_file"), "XDG_CONFIG_HOME": str(tmp_path / "elsewhere")}
    assert api_key(environ).reveal() == "vast_elsewhere"


def test_the_environment_counts_before_the_newer_file_and_that_before_the_older(tmp_path: Path) -> None:
    environ = {**keep(tmp_path, CONFIG, "vast_new"), **keep(tmp_path, OLD, "vast_old")}
    assert api_key({**environ, "VAST_API_KEY": "vast_env"}).reveal() == "vast_env"
    assert api_key(environ).reveal() == "vast_new"


def test_an_empty_file_is_as_none(tmp_path: Path) -> None:
    environ = {**keep(tmp_path, CONFIG, "\n"), **keep(tmp_path, OLD, "vast_old")}
    assert api_key(environ).reveal() == "vast_old"


@pytest.mark.parametrize(
    "environ", [{}, {"VAST_API_KEY": ""}, {"HOME": "/nowhere"}, {"HOME": ""}, {"HOME": "/dev/null"}]
)
def test_without_a_key_the_hint_names_the_variable_and_the_place(environ: dict[str, str]) -> None:
    with pytest.raises(NoCredentials) as caught:
        api_key(environ)
    assert "VAST_API_KEY" in caught.value.hint
    assert "https://cloud.vast.ai/manage-keys/" in caught.value.hint


def test_a_file_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / OLD).write_bytes(b"\xff\xfe secret")
    with pytest.raises(AuthError, match=r"\.vast_api_key cannot be read") as caught:
        api_key({"HOME": str(tmp_path)})
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("key", ["vast_a\nb", "vast_a b", "vast_ä", "vast_\x00"])
def test_what_can_be_no_key_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(AuthError, match="characters that no key has") as caught:
        api_key({"VAST_API_KEY": key})
    assert "vast_" not in f"{caught.value.message} {caught.value.hint}"
