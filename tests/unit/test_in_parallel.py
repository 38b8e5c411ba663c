"""Requests that run at once."""

import time
from collections.abc import Callable
from threading import Event, Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.in_parallel import AT_ONE_CLOUD, at_once, together


@given(st.lists(st.integers(), unique=True, max_size=30))
def test_answers_come_in_the_order_of_the_questions(numbers: list[int]) -> None:
    assert at_once(lambda number: -number, numbers) == [-number for number in numbers]


def test_what_one_raises_is_raised() -> None:
    def fail(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        at_once(fail, [1, 0, 2])


def first_letter(name: str) -> str:
    return name[0]


def waiting(for_s: float, answer: str) -> Callable[[], str]:
    def work() -> str:
        time.sleep(for_s)
        return answer

    return work


def test_clouds_take_as_long_as_the_slowest_and_not_the_sum() -> None:
    began = time.monotonic()
    answers = together({f"{cloud}1": waiting(0.3, cloud) for cloud in "abcd"}, first_letter)
    assert answers == {"a1": "a", "b1": "b", "c1": "c", "d1": "d"}
    assert time.monotonic() - began < 0.9


def test_one_that_hangs_costs_the_patience_for_the_last_one_and_nothing_of_the_others_answers() -> None:
    hangs = Event()
    work: dict[str, Callable[[], object]] = {"a1": waiting(0.0, "a"), "b1": hangs.wait, "b2": waiting(0.0, "b")}
    began = time.monotonic()
    answers = together(work, first_letter, patience_s=30.0, last_one_s=0.2)
    assert answers == {"a1": "a", "b2": "b"}
    assert time.monotonic() - began < 5
    hangs.set()


def test_when_all_hang_patience_ends() -> None:
    hangs = Event()
    assert together({"a1": hangs.wait, "b1": hangs.wait}, first_letter, patience_s=0.1) == {}
    hangs.set()


def test_a_single_cloud_has_all_the_patience_for_all_of_its_answers() -> None:
    work = {"a1": waiting(0.0, "1"), "a2": waiting(0.3, "2")}
    assert together(work, first_letter, patience_s=30.0, last_one_s=0.0) == {"a1": "1", "a2": "2"}


def test_one_cloud_is_not_asked_for_everything_at_once() -> None:
    lock, running, most = Lock(), [0], [0]

    def work(number: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return number

    assert at_once(work, range(30)) == [*range(30)]
    assert 1 < most[0] <= AT_ONE_CLOUD
