import fcntl
import signal
import subprocess
import sys
from pathlib import Path

from gpu_cli.locks import Lock, is_held, released

HOLD = """
import sys
from pathlib import Path
from gpu_cli.locks import Lock
assert Lock(Path(sys.argv[1])).try_acquire() is (sys.argv[2] == "free")
print("done", flush=True)
if sys.argv[2] == "free":
    sys.stdin.read()
"""


def another(path: Path, expected: str) -> subprocess.Popen[str]:
    """A process that has tried to take the lock, and holds it until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, expected], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "done\n"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=10)


def test_a_lock_is_one_processs_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "name.lock"
    lock = Lock(path)
    assert not is_held(path)
    with released(lock):
        assert lock.try_acquire()
        assert is_held(path)
        finish(another(path, "held"))
    assert not is_held(path)


def test_a_killed_holder_blocks_no_one(tmp_path: Path) -> None:
    path = tmp_path / "name.lock"
    holder = another(path, "free")
    assert is_held(path)
    holder.send_signal(signal.SIGKILL)
    finish(holder)
    assert Lock(path).try_acquire()


def test_of_two_who_look_at_once_neither_is_taken_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "name.lock"
    path.touch()
    with path.open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not is_held(path)


def test_looking_at_a_lock_makes_no_file_and_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "name.lock"
    assert not is_held(path)
    assert not path.exists()
    lock = Lock(path)
    assert lock.try_acquire()
    lock.release()
    assert not is_held(path)
    finish(another(path, "free"))


def test_a_program_that_the_holder_starts_does_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "name.lock")
    assert lock.try_acquire()
    child = subprocess.Popen(["sleep", "10"], close_fds=False)
    lock.release()
    try:
        assert not is_held(lock.path)
    finally:
        child.kill()
        child.wait()


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "locks" / "name.lock")
    assert lock.try_acquire()
    assert lock.path.stat().st_mode & 0o777 == 0o600
    assert lock.path.parent.stat().st_mode & 0o777 == 0o700
    lock.release()
