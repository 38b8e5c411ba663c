"""`gpu ssh`, against a real SSH server on loopback."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from a_sshd import HAS_SSHD, USER, Sshd
from driver import Gpu
from fleets import deployment
from machines_plugin import install, know

from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.store import Store
from gpu_providers.base import Kind, Link, SshLogin

NAME = "gpu-tiny-1"

pytestmark = pytest.mark.skipif(not HAS_SSHD, reason="needs an SSH server (openssh-server)")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the provider knows its logins from."""
    folder = tmp_path / "plugin"
    install(folder, monkeypatch)
    return folder


@pytest.fixture
def sshd(plugin: Path, tmp_path: Path) -> Iterator[Sshd]:
    """The machine of `gpu-tiny-1`."""
    with Sshd(tmp_path / "sshd", {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}) as sshd:
        (tmp_path / "known_hosts").write_text(f"{NAME} {sshd.host_key}\n")
        know(plugin, NAME, SshLogin("127.0.0.1", sshd.port, USER, sshd.identity, tmp_path / "known_hosts", NAME))
        yield sshd


def on_record(home: Path, **changes: object) -> None:
    """A deployment with a machine; nothing of it is asked of a cloud."""
    now = time.time()
    made = deployment(provider="machines", kind=Kind.VM, link=Link.SSH, endpoint="", resource_id="", idle_s=0.0)
    with closing(Store(home / "state" / "gpu.db").open()) as store:
        store.add(replace(made, created_at=now, launched_at=now, deadline_at=now + 3600, **changes))


def test_a_command_runs_on_the_machine_with_our_stdin_and_its_words_and_status_are_ours(
    gpu: Gpu, home: Path, sshd: Sshd
) -> None:
    on_record(home)
    ran = gpu("ssh", "tiny", "--", "cat; echo $SSH_CONNECTION; echo --json is its own >&2; exit 7", stdin="hello\n")
    assert ran.exit == 7
    assert ran.stdout.startswith("hello\n127.0.0.1 ")
    assert ran.stderr == "--json is its own\n"


def test_on_a_terminal_it_is_a_terminal_there_too(gpu: Gpu, home: Path, sshd: Sshd) -> None:
    on_record(home)
    assert "/dev/pts/" in gpu.on_a_terminal("ssh", "tiny", "--", "tty")


def test_a_machine_with_another_host_key_is_not_talked_to(gpu: Gpu, home: Path, sshd: Sshd) -> None:
    on_record(home)
    sshd.stop()
    sshd.change_host_key()
    sshd.start()
    ran = gpu("ssh", "tiny", "--", "true")
    assert ran.exit == 255
    assert ran.stderr.endswith("Host key verification failed.\n")


def test_one_without_a_machine_of_its_own_is_told(gpu: Gpu, home: Path, plugin: Path) -> None:
    on_record(home, kind=Kind.POD)
    ran = gpu("ssh", "tiny")
    assert ran.exit == Exit.BAD_INPUT
    assert ran.stderr == "error: tiny has no SSH server: at machines it is a pod\nhint: what it says: gpu logs tiny\n"


def test_one_that_boots_is_told(gpu: Gpu, home: Path, plugin: Path) -> None:
    on_record(home, state=State.BOOTING, start_deadline_at=time.time() + 600)
    ran = gpu("ssh", "tiny")
    assert ran.exit == Exit.NEVER_HEALTHY
    said = "error: the machine of tiny has no address yet: it is booting\nhint: wait for it: gpu wait tiny\n"
    assert ran.stderr == said


def test_one_that_another_machine_launched_is_told(gpu: Gpu, home: Path, plugin: Path) -> None:
    on_record(home)
    ran = gpu("ssh", "tiny")
    assert ran.exit == Exit.CREDENTIALS
    assert "error: the SSH key of tiny is not on this machine\nhint: " in ran.stderr


def test_without_the_program_it_is_told(gpu: Gpu, home: Path, sshd: Sshd) -> None:
    on_record(home)
    ran = gpu("ssh", "tiny", env={"PATH": os.devnull})
    assert ran.exit == Exit.BAD_INPUT
    assert ran.stderr.splitlines()[0] == "error: there is no program `ssh` on this machine"
