"""How often Lambda is asked, by however many processes."""

import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.lambda_cloud.pacing import INTERVALS_S, Pace, Turn

REQUEST_S, LAUNCH_S = INTERVALS_S[Turn.REQUEST], INTERVALS_S[Turn.LAUNCH]
NOW_S = 1_795_000_000.0
SLACK_S = 0.01


class Passing:
    """Time that passes only while one sleeps."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def waited_s(folder: Path, now_s: float, kind: Turn = Turn.REQUEST) -> float:
    """By a process that begins now."""
    passing = Passing(now_s)
    Pace(folder, passing.clock, passing.sleep).wait(kind)
    return passing.now_s - now_s


def test_the_limits_of_the_account_are_kept_with_a_margin() -> None:
    assert REQUEST_S > 1
    assert LAUNCH_S > 12


def test_the_first_waits_for_nothing(tmp_path: Path) -> None:
    assert waited_s(tmp_path / "not" / "there", NOW_S, Turn.LAUNCH) == 0


@pytest.mark.parametrize("kind", list(Turn))
def test_the_next_waits_for_what_is_left_though_it_be_another_process(kind: Turn, tmp_path: Path) -> None:
    waited_s(tmp_path, NOW_S, kind)
    assert waited_s(tmp_path, NOW_S + 0.5, kind) == pytest.approx(INTERVALS_S[kind] - 0.5, abs=SLACK_S)


def test_a_cloud_whose_time_runs_faster_is_waited_for_as_much_less(tmp_path: Path) -> None:
    passing = Passing()
    for _ in range(2):
        Pace(tmp_path, passing.clock, passing.sleep, scale=0.1).wait(Turn.LAUNCH)
    assert passing.now_s - NOW_S == pytest.approx(LAUNCH_S / 10, abs=SLACK_S)


def test_one_that_comes_late_waits_for_nothing(tmp_path: Path) -> None:
    waited_s(tmp_path, NOW_S, Turn.LAUNCH)
    assert waited_s(tmp_path, NOW_S + LAUNCH_S, Turn.LAUNCH) == 0


def test_a_launch_is_a_request_too(tmp_path: Path) -> None:
    waited_s(tmp_path, NOW_S, Turn.LAUNCH)
    assert waited_s(tmp_path, NOW_S) == pytest.approx(REQUEST_S, abs=SLACK_S)


def test_requests_go_on_between_two_launches(tmp_path: Path) -> None:
    waited_s(tmp_path, NOW_S, Turn.LAUNCH)
    assert waited_s(tmp_path, NOW_S + REQUEST_S + SLACK_S) == 0


def test_two_accounts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    waited_s(tmp_path / "a", NOW_S)
    assert waited_s(tmp_path / "b", NOW_S) == 0


def test_a_clock_that_was_set_back_holds_up_nobody(tmp_path: Path) -> None:
    waited_s(tmp_path, NOW_S, Turn.LAUNCH)
    assert waited_s(tmp_path, NOW_S - 3600, Turn.LAUNCH) == 0
    assert waited_s(tmp_path, NOW_S - 3600, Turn.LAUNCH) == pytest.approx(LAUNCH_S, abs=SLACK_S)


@given(content=st.one_of(st.floats().map(lambda number: repr(number).encode()), st.binary(max_size=40)))
def test_whatever_the_file_holds_nobody_waits_for_longer_than_the_interval(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "pace"
    folder.mkdir(exist_ok=True)
    (folder / "last-request").write_bytes(content)
    assert waited_s(folder, NOW_S) <= REQUEST_S + SLACK_S
    assert waited_s(folder, NOW_S + 3600) == 0


@given(gaps_s=st.lists(st.floats(0, 5), max_size=20))
def test_no_two_requests_are_closer_together_than_the_interval(
    gaps_s: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    passing, turns_s = Passing(), []
    pace = Pace(tmp_path_factory.mktemp("pace"), passing.clock, passing.sleep)
    for gap_s in gaps_s:
        passing.sleep(gap_s)
        pace.wait()
        turns_s.append(passing.now_s)
    assert all(later - sooner > REQUEST_S - SLACK_S for sooner, later in pairwise(turns_s))


def test_where_no_file_can_be_kept_nobody_is_held_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert waited_s(tmp_path / "file", NOW_S, Turn.LAUNCH) == 0


def test_threads_take_turns(tmp_path: Path) -> None:
    """Each opens the file for itself, as processes do; whoever sleeps lets the time pass for all."""
    passing, lock = Passing(), threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            passing.sleep(seconds)

    threads = [threading.Thread(target=Pace(tmp_path, passing.clock, sleep).wait) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert float((tmp_path / "last-request").read_text()) - NOW_S >= 5 * REQUEST_S - SLACK_S


HOLDER = """
import sys, time
from pathlib import Path
from gpu_providers.lambda_cloud.pacing import Pace, Turn

def stay(_):
    print("waits", flush=True)
    time.sleep(60)

Pace(Path(sys.argv[1]), sleep=stay).wait(Turn.LAUNCH)
Pace(Path(sys.argv[1]), sleep=stay).wait(Turn.LAUNCH)
"""


def test_a_process_that_stays_in_its_wait_holds_up_nobody(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "waits\n"
            passing = Passing(float((tmp_path / "last-launch").read_text()) + LAUNCH_S)
            waiting = threading.Thread(target=Pace(tmp_path, passing.clock, passing.sleep).wait, args=[Turn.LAUNCH])
            waiting.start()
            waiting.join(5)
            assert not waiting.is_alive()
        finally:
            holder.kill()
