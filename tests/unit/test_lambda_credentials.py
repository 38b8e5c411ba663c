"""Where the key for Lambda comes from."""

from pathlib import Path

import pytest

from gpu_providers.errors import AuthError, NoCredentials
from gpu_providers.lambda_cloud.credentials import api_key


def keep(home: Path, text: str | bytes) -> dict[str, str]:
    (home / ".lambda_cloud").mkdir()
    (home / ".lambda_cloud/lambda_keys").write_bytes(text if isinstance(text, bytes) else text.encode())
    return {"HOME": str(home)}


def test_the_environment_names_the_key() -> None:
    assert api_key({"LAMBDA_API_KEY": " secret_env\n"}).reveal() == "secret_env"


@pytest.mark.parametrize(
    "text",
    [
        "api_key = secret_file\n",
        "api_key=secret_file",
        '  api_key = "secret_file"  \r\n',
        "# mine\nssh_key_name = api_key = x\napi_key = secret_file\n",
    ],
    ids=["as SkyPilot has it", "tight", "quoted", "among others"],
)
def test_the_file_in_which_other_tools_keep_it_is_read(text: str, tmp_path: Path) -> None:
    assert api_key(keep(tmp_path, text)).reveal() == "secret_file"


def test_the_environment_counts_before_the_file(tmp_path: Path) -> None:
    environ = {**keep(tmp_path, "api_key = secret_file"), "LAMBDA_API_KEY": "secret_env"}
    assert api_key(environ).reveal() == "secret_env"


@pytest.mark.parametrize("text", ["", "api_key =\n", "api_key\n", "api_keys = secret_x", "secret_x"])
def test_a_file_without_a_key_is_as_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(NoCredentials):
        api_key(keep(tmp_path, text))


@pytest.mark.parametrize(
    "environ", [{}, {"LAMBDA_API_KEY": ""}, {"HOME": "/nowhere"}, {"HOME": ""}, {"HOME": "/dev/null"}]
)
def test_without_a_key_the_hint_names_the_variable_and_the_place(environ: dict[str, str]) -> None:
    with pytest.raises(NoCredentials) as caught:
        api_key(environ)
    assert "LAMBDA_API_KEY" in caught.value.hint
    assert "https://cloud.lambda.ai/api-keys" in caught.value.hint


def test_a_file_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(AuthError, match="lambda_keys cannot be read") as caught:
        api_key(keep(tmp_path, b"api_key = secret_\xff\xfe"))
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("key", ["secret_a\nb", "secret_a b", "secret_ä", "secret_\x00"])
def test_what_can_be_no_key_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(AuthError, match="characters that no key has") as caught:
        api_key({"LAMBDA_API_KEY": key})
    assert "secret_" not in f"{caught.value.message} {caught.value.hint}"
