"""What the guard says on the user's desktop."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from driver import wait_until
from fleets import Cloud, deployment, make_fleet

from gpu_cli.errors import UserError
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.deeds import end
from gpu_cli.fleet.guard.notify import notify


def desktop(folder: Path, script: str) -> dict[str, str]:
    """The environment of a session with a stand-in for the program that shows notifications."""
    # In a process of its own: what this one has open for writing while it forks cannot be run.
    put = ["/bin/sh", "-c", 'cat > "$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0"', str(folder / "notify-send")]
    subprocess.run(put, input=f"#!{sys.executable}\n{script}\n", text=True, check=True)
    return {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere", "PATH": str(folder)}


WRITES = """import sys, pathlib
with (pathlib.Path(sys.argv[0]).parent / "shown").open("a") as file:
    file.write(sys.argv[-1] + "\\n")"""


@pytest.fixture(autouse=True)
def nothing_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_cli.fleet.guard.notify._shown_at", {})


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(sys, "platform", "linux")
    fleet = make_fleet(tmp_path)
    fleet = Fleet(fleet.paths, desktop(tmp_path, WRITES), fleet.store, fleet.clock, fleet._loaded)
    fleet.store.add(deployment())
    return fleet


def shown(folder: Path) -> str:
    path = folder / "shown"
    return path.read_text() if path.exists() else ""


def test_what_the_guard_has_ended_is_shown_with_the_reason_and_the_cost(fleet: Fleet, tmp_path: Path) -> None:
    end(fleet, deployment(), "idle")
    wait_until(lambda: shown(tmp_path))
    assert shown(tmp_path) == "tiny was ended: idle (spent $0.00)\n"
    fleet.store.close()


def test_what_could_not_be_confirmed_gone_is_shown_as_what_it_is(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = fleet._loaded["cloud"]
    assert isinstance(cloud, Cloud)
    cloud.add("gpu-tiny-1")
    cloud.terminates = False
    with pytest.raises(UserError):
        end(fleet, deployment(), "idle")
    wait_until(lambda: shown(tmp_path))
    assert "not confirmed gone" in shown(tmp_path)
    assert "gpu down tiny" in shown(tmp_path)
    fleet.store.close()


@pytest.mark.parametrize(
    "environ",
    [{}, {"DBUS_SESSION_BUS_ADDRESS": "x", "PATH": "/nowhere"}, {"GPU_NOTIFY": "0"}],
    ids=["no session", "no program", "not wanted"],
)
def test_where_there_is_no_desktop_nothing_is_run(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    session = desktop(tmp_path, WRITES) if "GPU_NOTIFY" in environ else {}
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("run"))
    notify({**session, **environ}, "hello")


def test_a_program_that_fails_or_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    notify(desktop(tmp_path, "import time; time.sleep(5)"), "hello")
    notify(desktop(tmp_path, "raise SystemExit(1)"), "hello again")


def test_what_fails_again_and_again_is_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    environ = desktop(tmp_path, WRITES)
    for text in ("it fails", "it fails", "and another"):
        notify(environ, text)
    wait_until(lambda: "and another" in shown(tmp_path) and "it fails" in shown(tmp_path))
    assert sorted(shown(tmp_path).splitlines()) == ["and another", "it fails"]


def test_on_a_mac_the_text_is_an_argument_and_no_part_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Any] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    notify({}, 'it said "stop"')
    wait_until(lambda: commands)
    assert commands[0][0] == "osascript"
    assert commands[0][-1] == 'it said "stop"'
    assert not any("stop" in word for word in commands[0][:-1])
