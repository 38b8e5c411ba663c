"""From a machine that was launched to one whose container runs, over a real SSH server."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from a_sshd import HAS_SSHD, make_key
from lambda_vm import NAME, LaunchedVm

from gpu_providers.base import Boot, Secret
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest, ProviderError, RateLimited
from gpu_providers.lambda_cloud import on_machine
from gpu_providers.lambda_cloud.set_up import KEY_PATIENCE_S, boot, container_end

pytestmark = pytest.mark.skipif(not HAS_SSHD, reason="needs OpenSSH's server")
ENDPOINT = "http://127.0.0.1:8000"
RUNS = Boot(running=True, detail="the container runs", endpoint=ENDPOINT)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[LaunchedVm]:
    """Private, and up."""
    launched = LaunchedVm(tmp_path)
    with launched.sshd:
        yield launched


@pytest.fixture
def public(tmp_path: Path) -> Iterator[LaunchedVm]:
    launched = LaunchedVm(tmp_path, public=True)
    with launched.sshd:
        yield launched


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[LaunchedVm]:
    """It was set up."""
    launched = LaunchedVm(tmp_path, met=True, refused_since=1.0, service_url=ENDPOINT)
    launched.vm.has_container()
    with launched.sshd:
        yield launched


def report(launched: LaunchedVm, **status: object) -> None:
    """The machine has come so far, and nobody is at work on it."""
    folder = launched.vm.home / ".gpu-machine"
    folder.mkdir(exist_ok=True)
    (folder / "on_machine.py").write_bytes(Path(on_machine.__file__).read_bytes())
    (folder / "status.json").write_text(json.dumps(status))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchedVm]:
    """It was set up by a row of looks; the tests of what came of that share it."""
    launched = LaunchedVm(tmp_path_factory.mktemp("done"))
    with launched.sshd:
        assert launched.boot() == Boot(running=False, detail="its set-up begins")
        assert launched.booted() == RUNS
        yield launched


def test_a_machine_is_set_up_look_by_look_until_its_container_runs(done: LaunchedVm) -> None:
    assert done.machine.service_url == ENDPOINT
    assert done.boot() == RUNS
    assert len(done.vm.calls("docker run -d")) == 1


def test_its_container_has_the_environment_of_the_launch_and_knows_its_instance(done: LaunchedVm) -> None:
    lines = (done.vm.home / "env.given").read_text().splitlines()
    assert lines == ["GPU_NODE=e30=", "VLLM_API_KEY=sesame", "GPU_LAMBDA_INSTANCE=0920582c"]


def test_nothing_secret_is_left_on_either_side_once_it_runs(done: LaunchedVm) -> None:
    assert done.machines.parcel(NAME) is None
    left = [path for path in (done.vm.home / ".gpu-machine").iterdir() if "sesame" in path.read_text()]
    assert left == []
    assert "sesame" not in (done.vm.home / "calls").read_text()


def test_others_on_the_machine_cannot_look_into_its_folder(done: LaunchedVm) -> None:
    assert (done.vm.home / ".gpu-machine").stat().st_mode & 0o077 == 0


def test_several_processes_may_boot_it_at_once(there: LaunchedVm) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: there.boot(), range(3)))
    assert there.booted() == RUNS
    assert len(there.vm.calls("docker run -d")) == 1


def test_a_machine_with_nobody_at_work_is_handed_its_work_again(there: LaunchedVm) -> None:
    report(there, stage="pull", detail="pulling the image: 1 of 9 layers")
    assert there.booted() == RUNS
    assert len(there.vm.calls("docker run -d")) == 1


def test_so_is_one_whose_crash_has_left_half_a_status(there: LaunchedVm) -> None:
    report(there, stage="pull", detail="pulling the image: 1 of 9 layers")
    (there.vm.home / ".gpu-machine" / "status.json").write_text("")
    assert there.boot() == Boot(running=False, detail="its set-up begins")


def test_a_container_that_runs_is_found_by_whoever_did_not_get_to_know(there: LaunchedVm) -> None:
    report(there, stage="up", detail="", port=8000)
    there.machines.drop_parcel(NAME)
    assert there.boot() == RUNS


def test_what_the_machine_says_of_a_failure_decides_what_it_is(there: LaunchedVm) -> None:
    errors: dict[str, type[ProviderError]] = {
        "host": HostFailed,
        "request": InvalidRequest,
        "command": CommandCrashed,
    }
    for whose, error in errors.items():
        report(there, stage="failed", failed=whose, detail="CUDA does not initialise (error 802)")
        with pytest.raises(error, match=r"^CUDA does not initialise \(error 802\)$"):
            there.boot()


def test_a_machine_that_takes_no_files_fails_with_its_own_words(there: LaunchedVm) -> None:
    (there.vm.home / ".gpu-machine").touch()
    with pytest.raises(HostFailed, match=r"its set-up cannot begin on it: mkdir: .*: File exists"):
        there.boot()


def test_a_parcel_that_nobody_has_any_more_cannot_be_run(there: LaunchedVm) -> None:
    there.machines.drop_parcel(NAME)
    with pytest.raises(HostFailed, match="nobody does any more"):
        there.boot()


def test_a_server_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    launched = LaunchedVm(tmp_path)
    assert launched.boot() == Boot(running=False, detail="booting: its SSH server does not answer yet")
    assert not launched.machine.met


def test_a_machine_without_an_address_is_waited_for(tmp_path: Path) -> None:
    launched = LaunchedVm(tmp_path)
    launched.machines.update(NAME, address="")
    assert launched.boot() == Boot(running=False, detail="booting: it has no address yet")


def test_a_key_that_is_refused_is_waited_for_but_not_for_ever(there: LaunchedVm) -> None:
    there.sshd.authorize()
    assert there.boot(now=1000.0) == Boot(running=False, detail="booting: its SSH server refuses our key yet")
    assert there.boot(now=1000.0 + KEY_PATIENCE_S - 1).running is False
    with pytest.raises(HostFailed, match="has refused our key for 3 minutes"):
        there.boot(now=1000.0 + KEY_PATIENCE_S)


def test_a_key_that_was_taken_before_may_be_refused_for_as_long_again(there: LaunchedVm) -> None:
    there.machines.update(NAME, met=True, refused_since=1000.0)
    assert there.boot(now=1000.0 + KEY_PATIENCE_S).detail == "its set-up begins"
    there.sshd.authorize()
    assert there.boot(now=1000.0 + 2 * KEY_PATIENCE_S - 1).running is False


def test_a_system_that_is_booting_up_is_waited_for_however_long(tmp_path: Path) -> None:
    launched = LaunchedVm(tmp_path)
    banner = tmp_path / "banner"
    banner.write_text('"System is booting up. Unprivileged users are not permitted to log in yet."\n')
    launched.sshd.more = f"Banner {banner}\n"
    launched.sshd.authorize()
    with launched.sshd:
        for now in (1000.0, 9000.0):
            detail = "booting: its SSH server lets nobody in yet: the system is booting up"
            assert launched.boot(now) == Boot(running=False, detail=detail)


def test_a_key_that_was_not_planted_is_trusted_at_the_first_meeting_and_that_is_said(there: LaunchedVm) -> None:
    there.machines.pin(NAME, make_key(there.sshd.folder / "planted"))
    met = there.boot()
    assert met.note.startswith(f"{NAME}: its SSH server did not have the host key that was made for it.")
    assert not (there.vm.home / ".gpu-machine").exists()
    assert there.machine.met
    assert there.boot() == Boot(running=False, detail="its set-up begins")


def test_the_key_that_was_planted_will_do_also_when_it_comes_later(there: LaunchedVm) -> None:
    planted, of_image = there.sshd.folder / "planted", there.sshd.folder / "host_key"
    there.machines.pin(NAME, make_key(planted))
    assert there.boot().note
    there.sshd.stop()
    planted.rename(of_image)
    there.sshd.start()
    assert there.boot() == Boot(running=False, detail="its set-up begins")


@pytest.mark.parametrize("was_planted", [True, False])
def test_any_other_key_later_is_refused_and_gets_nothing(there: LaunchedVm, was_planted: bool) -> None:
    if not was_planted:
        there.machines.pin(NAME, make_key(there.sshd.folder / "planted"))
    there.boot()
    there.sshd.stop()
    there.sshd.change_host_key()
    (there.sshd.folder / "sshd.log").unlink()
    there.sshd.start()
    with pytest.raises(HostFailed, match="host key has changed"):
        there.boot()
    assert "userauth-request" not in (there.sshd.folder / "sshd.log").read_text()


def test_whoever_comes_late_does_not_trust_a_second_key(there: LaunchedVm) -> None:
    there.machines.pin(NAME, make_key(there.sshd.folder / "planted"))
    stale = there.machine
    there.machines.update(NAME, met=True)
    with pytest.raises(HostFailed, match="host key has changed"):
        boot(there.machines, stale, 1000.0)


def test_a_public_machine_is_opened_to_its_caller_before_it_gets_anything(public: LaunchedVm) -> None:
    opened: list[tuple[str, bool]] = []
    folder = public.vm.home / ".gpu-machine"
    public.boot(open_to=lambda address: opened.append((address, folder.exists())))
    assert opened == [("127.0.0.1", False)]
    public.booted()
    assert " -p 0.0.0.0:8000:8000 " in public.vm.calls("docker run -d")[0]


def test_its_endpoint_is_the_port_that_docker_has_published_at_its_own_address(public: LaunchedVm) -> None:
    report(public, stage="up", detail="", port=18000)
    public.machines.update(NAME, address="localhost")
    assert public.boot().endpoint == "http://localhost:18000"


def test_one_that_cannot_be_opened_gets_nothing_until_it_can(public: LaunchedVm) -> None:
    def refused(address: str) -> None:
        raise RateLimited("slowly", retry_after_s=1)

    with pytest.raises(RateLimited):
        public.boot(open_to=refused)
    assert not (public.vm.home / ".gpu-machine").exists()


def test_a_private_machine_is_opened_to_nobody(there: LaunchedVm) -> None:
    there.boot(open_to=lambda address: pytest.fail(address))


def test_how_a_container_has_ended_is_told_in_dockers_words(runs: LaunchedVm) -> None:
    for docker, ended in {"exited 3": "exited (3)", "dead 137": "dead (137)"}.items():
        runs.vm.has_container(docker)
        assert container_end(runs.machines, runs.machine) == ended


def test_nothing_but_dockers_words_for_an_end_is_taken_for_one(runs: LaunchedVm) -> None:
    for odd in ("running 0", "paused 0", "removing 0", "", "exited", "exited early, says the login shell"):
        runs.vm.has_container(odd)
        assert container_end(runs.machines, runs.machine) == ""
    runs.vm.has_container("the login shell exited 1\nexited 3")
    assert container_end(runs.machines, runs.machine) == "exited (3)"


def test_a_container_that_is_not_there_is_missing(runs: LaunchedVm) -> None:
    (runs.vm.home / "container").unlink()
    assert container_end(runs.machines, runs.machine) == "missing"
    with pytest.raises(CommandCrashed, match="missing"):
        runs.boot()


def test_a_container_that_has_ended_is_a_command_that_has(runs: LaunchedVm) -> None:
    runs.vm.has_container("exited 3")
    with pytest.raises(CommandCrashed, match=r"its container has ended: exited \(3\)"):
        runs.boot()


def test_a_docker_that_does_not_answer_proves_nothing_about_the_container(runs: LaunchedVm) -> None:
    runs.vm.answers("docker inspect", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert container_end(runs.machines, runs.machine) == ""
    assert runs.boot() == RUNS


def test_nor_does_a_machine_that_does_not_answer(runs: LaunchedVm) -> None:
    runs.sshd.stop()
    assert container_end(runs.machines, runs.machine) == ""
    assert runs.boot() == RUNS


def test_a_machine_that_runs_and_has_another_host_key_is_not_believed(runs: LaunchedVm) -> None:
    runs.machines.pin(NAME, make_key(runs.sshd.folder / "another"))
    assert container_end(runs.machines, runs.machine) == ""
    with pytest.raises(HostFailed, match="host key has changed"):
        runs.boot()


def test_a_machine_that_was_forgotten_meanwhile_gets_nothing(there: LaunchedVm) -> None:
    known = there.machine
    there.machines.forget(NAME)
    assert container_end(there.machines, known) == ""


def test_the_parcel_is_never_in_an_error(there: LaunchedVm) -> None:
    there.machines.prepare(there.machine, there.sshd.host_key, Secret('{"env": {"KEY": "sesame"}}'))
    there.boot()
    with pytest.raises(HostFailed, match="broke off") as failure:
        there.booted()
    assert "sesame" not in str(failure.value)
