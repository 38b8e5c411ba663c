"""No credential and no key is in a command line, an output, a log or the record."""

import stat
from pathlib import Path

import pytest
from conftest import Hub, WriteRecipe
from driver import Gpu, command_of

CANARIES = {
    name: f"canary-{number}-of-a-secret"
    for number, name in enumerate(
        ("HF_TOKEN", "RUNPOD_API_KEY", "VAST_API_KEY", "LAMBDA_API_KEY", "MODAL_TOKEN_SECRET", "AWS_SECRET_ACCESS_KEY")
    )
}


@pytest.fixture(autouse=True)
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_no_secret_is_seen_anywhere_from_up_to_down(gpu: Gpu, tiny: str) -> None:
    runs = [gpu("up", tiny, "--json")]
    (key_file,) = (gpu.home / "state" / "keys").iterdir()
    key = key_file.read_text()
    commands = " ".join(command_of(process) for process in gpu.processes())
    assert files_with(gpu.home, key) == [key_file]
    runs += [gpu(*command.split()) for command in ("ls", "ls --json", "logs", "doctor", "chat -m hi", "down", "ls")]
    for secret in (key, *CANARIES.values()):
        assert secret not in commands
        assert not [run for run in runs if secret in run.stdout + run.stderr]
        assert files_with(gpu.home, secret) == []


def test_the_engine_does_not_inherit_the_users_credentials_and_state_is_private(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    for process in (gpu.engine(), gpu.supervisor()):
        assert not set(CANARIES) & set(process.environ())
    state = gpu.home / "state"
    assert mode(state) == 0o700
    private = [*state.glob("gpu.db*"), *(state / "keys").iterdir(), *state.rglob("output.log")]
    assert len(private) >= 3
    for path in private:
        assert mode(path) == 0o600, path
    for folder in (state / "keys", state / "logs", state / "locks"):
        assert mode(folder) == 0o700


def test_a_token_goes_to_the_hub_and_nowhere_else_when_it_is_refused(gpu: Gpu, recipe: WriteRecipe, hub: Hub) -> None:
    up = gpu("up", str(recipe(model="org/model")), "--json")
    assert up.exit == 4
    assert hub.tokens == [f"Bearer {CANARIES['HF_TOKEN']}"]
    for secret in CANARIES.values():
        assert secret not in up.stdout + up.stderr
        assert files_with(gpu.home, secret) == []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
