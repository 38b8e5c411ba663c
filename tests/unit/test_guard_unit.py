"""`gpu guard install` and `uninstall`: the service managers' programs are stand-ins, the service itself is real."""

import json
import os
import plistlib
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from driver import Gpu, is_alive, wait_until
from emulators.lambda_cloud import LambdaEmulator
from emulators.modal_cloud import ModalEmulator
from emulators.runpod import RunPodEmulator
from fleets import deployment
from runpod_account import offer_of, pod_request, provider_at
from service_managers import StandIns

from gpu_cli.commands.guard import _away_in_words
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.away.record import LATE_S, STANDS_STILL, Away, Seen
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.environment import KeptEnvironment
from gpu_cli.fleet.guard.process import await_guard, call_guard, guard_log_path
from gpu_cli.fleet.guard.services import Launchd, Systemd
from gpu_cli.fleet.guard.unit import Installed, install, installed, uninstall
from gpu_cli.fleet.recover import open_fleet
from gpu_cli.paths import Paths

ODD = ["/opt/py thon", "-m", "module", '/a "b" 100% $HOME \\c/environment.json']


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def unit(config: Path) -> Path:
    return config / "systemd" / "user" / "gpu-guard.service"


@pytest.fixture
def manager(tmp_path: Path, unit: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    stand_ins = StandIns(tmp_path / "bin", unit)
    monkeypatch.setenv("PATH", f"{stand_ins.folder}:{os.environ['PATH']}")
    yield stand_ins
    for process in gpu.processes("gpu_cli.fleet.guard"):
        with suppress(psutil.NoSuchProcess):
            process.terminate()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunPodEmulator]:
    with RunPodEmulator(engine="none") as cloud:
        for name, value in {**cloud.env, "GPU_RUNPOD_POLL_S": "0.1"}.items():
            monkeypatch.setenv(name, value)
        yield cloud


@pytest.fixture
def fleet(cloud: RunPodEmulator) -> Iterator[Fleet]:
    """In the environment of the test, as it is at each moment."""
    fleet = open_fleet(Paths.from_environ(os.environ), os.environ, Clock(), print)
    with closing(fleet.store):
        yield fleet


def what_is_left(home: Path, config: Path) -> list[Path]:
    """Files of the service."""
    return [path for folder in (home / "state" / "guard", config) for path in folder.rglob("*") if path.is_file()]


def test_the_installed_guard_ends_what_is_overdue_and_commands_use_it(
    gpu: Gpu,
    fleet: Fleet,
    unit: Path,
    manager: StandIns,
    cloud: RunPodEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = provider_at(cloud, tmp_path)
    pod = provider.launch(pod_request(offer_of(provider), "gpu-late-1"))
    ran = gpu("guard", "install", "--json")
    assert ran.exit == Exit.DONE, ran.stderr
    assert ran.json["service"] == {"path": str(unit), "active": True, "enabled": True, "current": True}
    reloads, starts = ["--user daemon-reload"], [f"--user {word} {unit.name}" for word in ("enable", "restart")]
    assert manager.calls == [*reloads, *reloads, *starts]
    known_as = {"provider": "runpod", "account": provider.account(), "resource_id": pod.resource_id}
    fleet.store.add(deployment("late", **known_as, deadline_at=time.time() - 60))
    wait_until(lambda: not list(cloud.pods))
    wait_until(lambda: not fleet.store.get(pod.name).is_live)
    assert fleet.store.get(pod.name).reason == "deadline"
    (service,) = gpu.processes("gpu_cli.fleet.guard")
    assert service.cmdline()[-2:] == ["gpu_cli.fleet.guard", "--stay"]
    assert "gpu-late-1: ending it: deadline" in guard_log_path(fleet.paths).read_text()
    told = gpu("guard", "status", "--json").json
    assert (told["running"], told["pid"], told["guards"]) == (True, service.pid, [])
    assert call_guard(fleet) is None
    # A command that reaches more clouds than it does has a guard of its own meanwhile.
    monkeypatch.setenv("VAST_API_KEY", "of-vast")
    called = call_guard(fleet)
    await_guard(fleet, called)
    (guard,) = gpu.processes("gpu_cli.fleet.guard")
    assert {name: guard.environ()[name] for name in ("VAST_API_KEY", "RUNPOD_API_KEY")} == {
        "VAST_API_KEY": "of-vast",
        "RUNPOD_API_KEY": cloud.key,
    }
    called.terminate()
    called.wait()
    wait_until(lambda: manager.status is not None)
    assert manager.status == 0


def test_keys_are_kept_for_the_user_alone_and_never_in_the_unit(
    fleet: Fleet, unit: Path, manager: StandIns, cloud: RunPodEmulator
) -> None:
    hints = " ".join(install(fleet))
    file = fleet.paths.state / "guard" / "environment.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = json.loads(file.read_text())
    assert (kept["RUNPOD_API_KEY"], kept["GPU_HOME"]) == (cloud.key, os.environ["GPU_HOME"])
    assert cloud.key not in unit.read_text() + hints + guard_log_path(fleet.paths).read_text()
    assert "RUNPOD_API_KEY" in hints
    assert "after a change: gpu guard install again" in hints


def test_after_a_change_of_a_key_the_service_has_the_new_one_once_it_is_installed_again(
    gpu: Gpu, fleet: Fleet, unit: Path, manager: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(fleet)
    monkeypatch.setenv("RUNPOD_API_KEY", "another")
    assert installed(fleet) == Installed(unit, active=True, enabled=True, current=False)
    install(fleet)
    assert installed(fleet) == Installed(unit, active=True, enabled=True, current=True)
    (service,) = gpu.processes("gpu_cli.fleet.guard")
    assert service.environ()["RUNPOD_API_KEY"] == "another"
    service.kill()
    wait_until(lambda: not is_alive(service))
    manager.lingers("no")
    shown = gpu("guard", "status")
    assert "installed, and does not run" in shown.stdout
    assert "loginctl enable-linger" in shown.stderr


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("Failed to connect to bus: No medium found\n", "Failed to connect to bus: No medium found"),
        ("System has not been booted\nFailed to connect to bus\n", "System has not been booted"),
    ],
    ids=["no bus", "no systemd"],
)
def test_where_no_service_manager_answers_nothing_is_left_and_one_line_says_so(
    gpu: Gpu, home: Path, config: Path, manager: StandIns, stderr: str, told: str
) -> None:
    manager.refuse(stderr)
    ran = gpu("guard", "install", "--json")
    assert ran.exit == Exit.LAUNCH_FAILED
    assert (ran.error["code"], ran.error["message"]) == ("service-failed", f"systemctl --user daemon-reload: {told}")
    assert "--on modal" in ran.error["hint"]
    assert len(ran.stderr.splitlines()) == 2
    assert what_is_left(home, config) == []


def test_where_there_is_no_systemd_at_all_one_line_says_so(
    gpu: Gpu, home: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = gpu("guard", "install", "--json")
    assert ran.error["message"] == "systemctl cannot be used here: No such file or directory"
    assert what_is_left(home, config) == []


def test_a_service_that_does_not_come_up_is_not_left_installed(
    gpu: Gpu, home: Path, config: Path, manager: StandIns
) -> None:
    calls = manager.folder / "calls"
    refusal = "{ echo Failed to start >&2; exit 1; }"
    manager.put("systemctl", f"#!/bin/sh\necho $* >> {calls}\n[ $2 != restart ] || {refusal}\n")
    ran = gpu("guard", "install", "--json")
    assert ran.error["message"] == "systemctl --user restart gpu-guard.service: Failed to start"
    assert manager.calls[-1] == "--user disable --now gpu-guard.service"
    assert what_is_left(home, config) == []


def test_a_user_whose_services_end_at_logout_is_told_what_keeps_them(manager: StandIns) -> None:
    assert Systemd(os.environ).hint() == ""
    manager.lingers("no")
    assert "loginctl enable-linger" in Systemd(os.environ).hint()
    (manager.folder / "loginctl").unlink()
    assert Systemd({"PATH": str(manager.folder)}).hint() == ""


def test_the_service_of_another_state_folder_is_left_alone(fleet: Fleet, unit: Path, manager: StandIns) -> None:
    unit.parent.mkdir(parents=True)
    unit.write_text("of another\n")
    KeptEnvironment(fleet.paths).keep(os.environ)  # of a service that the other has replaced
    with pytest.raises(UserError) as refused:
        install(fleet)
    assert (refused.value.exit_status, refused.value.code) == (Exit.BAD_INPUT, "installed-elsewhere")
    assert not uninstall(fleet)
    assert unit.read_text() == "of another\n"
    assert manager.calls == []


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here")
    path = tmp_path / "gpu-guard.service"
    path.write_text(Systemd({"HOME": "/"}).definition([shutil.which("true") or "", *ODD[1:]]))
    verified = subprocess.run(
        [analyze, "--user", "verify", str(path)],
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_nothing_in_a_path_means_anything_to_systemd() -> None:
    (command,) = [line for line in Systemd({}).definition(ODD).splitlines() if line.startswith("ExecStart=")]
    assert command == r'ExecStart="/opt/py thon" "-m" "module" "/a \"b\" 100%% $$HOME \\c/environment.json"'


def test_where_the_units_and_agents_of_a_user_are() -> None:
    assert str(Systemd({"HOME": "/h"}).path) == "/h/.config/systemd/user/gpu-guard.service"
    assert str(Systemd({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}).path) == "/c/systemd/user/gpu-guard.service"
    assert str(Launchd({"HOME": "/h"}).path) == "/h/Library/LaunchAgents/gpu-guard.plist"


def test_the_agent_of_macos_runs_at_login_and_again_whenever_it_ends() -> None:
    agent = plistlib.loads(Launchd({"HOME": "/"}).definition(ODD).encode())
    assert agent["ProgramArguments"] == ODD
    assert (agent["Label"], agent["RunAtLoad"], agent["KeepAlive"]) == ("gpu-guard", True, True)


@pytest.fixture
def launchd(tmp_path: Path) -> tuple[Launchd, StandIns]:
    """With a launchctl for which an agent is loaded as long as there is a file."""
    stand_ins = StandIns(tmp_path / "bin", tmp_path / "unit")
    loaded = stand_ins.folder / "loaded"
    answers = {
        "print": f"case $2 in */gpu-guard) test -e {loaded};; esac",
        "bootstrap": f"touch {loaded}",
        "bootout": f"rm {loaded}",
    }
    cases = "".join(f"{word}) {answer};;\n" for word, answer in answers.items())
    stand_ins.put("launchctl", f"#!/bin/sh\necho $* >> {stand_ins.folder}/calls\ncase $1 in\n{cases}esac\n")
    return Launchd({"HOME": str(tmp_path), "PATH": f"{stand_ins.folder}:/usr/bin:/bin"}), stand_ins


def test_on_macos_an_agent_that_is_loaded_is_taken_out_before_it_is_loaded_anew(
    launchd: tuple[Launchd, StandIns],
) -> None:
    manager, stand_ins = launchd
    domain = f"gui/{os.getuid()}"
    manager.look()
    manager.start()
    manager.start()
    manager.stop()
    manager.stop()
    changes = [call for call in stand_ins.calls if not call.startswith("print")]
    load, take_out = f"bootstrap {domain} {manager.path}", f"bootout {domain}/gpu-guard"
    assert changes == [load, take_out, load, take_out]


def test_on_macos_what_launchctl_refuses_is_one_line(launchd: tuple[Launchd, StandIns]) -> None:
    manager, stand_ins = launchd
    stand_ins.put("launchctl", "#!/bin/sh\necho 'Could not find domain' >&2; exit 113\n")
    with pytest.raises(UserError, match=rf"launchctl print gui/{os.getuid()}: Could not find domain"):
        manager.look()


def test_what_lives_is_guarded_also_once_the_service_is_uninstalled_with_the_keys_that_it_had(
    gpu: Gpu,
    fleet: Fleet,
    cloud: RunPodEmulator,
    home: Path,
    config: Path,
    unit: Path,
    manager: StandIns,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(fleet)
    monkeypatch.delenv("RUNPOD_API_KEY")
    (service,) = gpu.processes("gpu_cli.fleet.guard")
    fleet.store.add(deployment(deadline_at=time.time() + 600))
    ran = gpu("guard", "uninstall", "--json")
    assert ran.json["removed"] is True
    assert manager.status == 0
    assert manager.calls[-2:] == [f"--user disable --now {unit.name}", "--user daemon-reload"]
    assert what_is_left(home, config) == []
    (guard,) = gpu.processes("gpu_cli.fleet.guard")
    assert guard.pid != service.pid
    assert "--stay" not in guard.cmdline()
    assert guard.environ()["RUNPOD_API_KEY"] == cloud.key


def test_without_a_unit_nothing_is_installed(fleet: Fleet) -> None:
    assert installed(fleet) is None


def test_a_guard_at_modal_is_deployed_shown_as_it_is_at_modal_and_removed(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LambdaEmulator() as watched, ModalEmulator() as modal:
        for name, value in {**watched.env, **modal.env}.items():
            monkeypatch.setenv(name, value)
        deployed = gpu("guard", "deploy", "--on", "modal", "--json")
        assert deployed.exit == Exit.DONE, deployed.stderr
        assert {**deployed.json["away"], "deployed_at": "", "asked_at": ""} == {
            "on": "modal",
            "deployed_at": "",
            "current": True,
            "at_work": True,
            "asked_at": "",
            "problem": "",
        }
        modal.stop_apps()
        assert f"; {STANDS_STILL}\n" in gpu("guard", "status").stdout
        assert gpu("guard", "undeploy", "--json").json["removed"] is False


def test_what_is_wrong_with_a_guard_at_modal_is_shown_beside_it() -> None:
    away, lost = Away("modal", 1_800_000_000.0, "of another"), Seen(asked_at=LATE_S)
    assert _away_in_words(away, Seen(), "", current=True) == "at Modal since 2027-01-15 08:00 UTC"
    told = _away_in_words(away, lost, "Modal does not answer", current=False)
    assert "; with another account's key than this shell has" in told
    assert told.endswith(f"; as far as is known: Modal does not answer; {STANDS_STILL}")


def test_there_is_no_guard_in_places_that_are_none(gpu: Gpu) -> None:
    ran = gpu("guard", "deploy", "--on", "mars", "--json")
    assert (ran.exit, ran.error["message"]) == (Exit.BAD_INPUT, "--on: 'mars' is no place for a guard")
