"""A record that is newer, damaged, unwritable: said clearly, nothing launched, nothing lost silently."""

import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from driver import COMMAND, Gpu, Ran


def record(gpu: Gpu) -> Path:
    return gpu.home / "state" / "gpu.db"


@pytest.mark.parametrize("command", [["ls"], ["up", "TINY"], ["down", "--all"], ["gc", "--yes"]])
def test_a_record_of_a_newer_gpu_is_not_touched(
    gpu: Gpu, tiny: str, database: Callable[[str], None], command: list[str]
) -> None:
    gpu("ls")
    database("PRAGMA user_version = 99")
    before = record(gpu).read_bytes()
    ran = gpu(*(tiny if word == "TINY" else word for word in command), "--json")
    assert (ran.exit, ran.error["code"]) == (2, "state-newer")
    assert "99" in ran.error["message"]
    assert "upgrade" in ran.error["hint"]
    assert record(gpu).read_bytes() == before
    assert gpu.processes() == []


def damage_with_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database " * 1000)


def damage_by_cutting(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


@pytest.mark.parametrize("damage", [damage_with_garbage, damage_by_cutting])
def test_a_damaged_record_is_kept_aside_and_what_runs_is_on_record_again(
    gpu: Gpu, tiny: str, database: Callable[[str], None], damage: Callable[[Path], None]
) -> None:
    up = gpu("up", tiny, "--json").json
    gpu.kill_guard()
    database("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(record(gpu))
    damaged = record(gpu).read_bytes()

    ls = gpu("ls", "--json")
    assert ls.exit == 0, ls.stderr
    assert "gpu-tiny-" in ls.stderr
    assert "is on record again" in ls.stderr
    (found,) = ls.json["deployments"]
    for key in ("name", "recipe", "resource_id", "base_url", "model", "provider", "kind"):
        assert found[key] == up[key]
    (kept,) = record(gpu).parent.glob("gpu.db.corrupt-*[0-9]")
    assert kept.read_bytes() == damaged
    assert str(kept) in ls.stderr

    again = gpu("up", tiny, "--json")
    assert (again.exit, again.json["state"], again.json["base_url"]) == (0, "ready", up["base_url"]), again.stderr
    assert gpu("chat", "-m", "hi").stdout.startswith("Paris")
    assert gpu("down").exit == 0
    assert gpu.engines() == []


def test_a_damaged_record_under_a_living_guard_is_recovered_too(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    damage_with_garbage(record(gpu))
    assert gpu("ls", "--json").json["deployments"][0]["name"] == "tiny"
    assert gpu("wait", "tiny").exit == 0
    assert gpu.guard()
    assert gpu("down", "tiny").exit == 0
    assert gpu.engines() == []


@pytest.mark.parametrize("limit_bytes", [4096, 65536])
def test_a_full_disk_is_said_clearly_and_nothing_is_left(gpu: Gpu, tiny: str, limit_bytes: int) -> None:
    """No file may grow beyond the limit: with the smaller one the record cannot be made, with the other not grow."""
    if limit_bytes > 4096:
        gpu("ls")
    up = with_file_limit(gpu, limit_bytes, "up", tiny, "--json")
    assert up.exit != 0
    assert up.error["exit"] in (5, 9), up.stderr
    assert up.error["code"] != "bug"
    assert gpu.engines() == []
    assert gpu.processes("supervisor.py") == []


def test_down_ends_what_runs_even_when_nothing_can_be_written_down(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    gpu.kill_guard()
    size = max(path.stat().st_size for path in record(gpu).parent.glob("gpu.db*"))
    down = with_file_limit(gpu, size, "down", "--json")
    assert (down.exit, down.error["code"]) == (5, "state-unwritable"), down.stderr
    assert gpu.engines() == []
    assert gpu.state_of("tiny") == "gone"


def with_file_limit(gpu: Gpu, limit_bytes: int, *arguments: str) -> Ran:
    """Python ignores SIGXFSZ, so that a write beyond the limit is an error, as it is on a full disk."""
    ran = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=gpu.cwd,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    )
    return Ran(ran.stdout, ran.stderr, ran.returncode)


def test_a_file_where_the_state_folder_should_be_is_said_clearly(gpu: Gpu, tiny: str) -> None:
    gpu.home.joinpath("state").write_text("in the way")
    for command in (["ls"], ["up", tiny]):
        ran = gpu(*command, "--json")
        assert (ran.exit, ran.error["code"]) == (5, "state-unwritable")
        assert str(gpu.home / "state") in ran.error["message"]
        assert "GPU_HOME" in ran.error["hint"]
