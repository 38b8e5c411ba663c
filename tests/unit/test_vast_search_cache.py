"""What is kept of searches, for how long, and who may read it."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpu_providers.vast.search_cache import FRESH, SearchCache

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUERY = {"gpu_name": {"in": ["H100 SXM"]}, "order": [["dph_total", "asc"]]}
ROWS = [{"id": 1, "dph_total": 1.5}, {"id": 2, "geolocation": "Île-de-France, FR"}]


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> SearchCache:
    return SearchCache(tmp_path / "not" / "there" / "yet", clock)


def files(cache: SearchCache) -> list[Path]:
    return sorted(cache._folder.iterdir())


def test_an_answer_is_kept_with_its_age(cache: SearchCache, clock: Clock) -> None:
    cache.put(QUERY, ROWS, NOON)
    clock.now += timedelta(seconds=40)
    assert cache.get(QUERY) == (ROWS, NOON)


def test_another_process_reads_what_this_one_kept(cache: SearchCache, clock: Clock) -> None:
    cache.put(QUERY, ROWS, NOON)
    assert SearchCache(cache._folder, clock).get(QUERY) == (ROWS, NOON)


def test_no_offer_at_all_is_an_answer_too(cache: SearchCache) -> None:
    cache.put(QUERY, [], NOON)
    assert cache.get(QUERY) == ([], NOON)


def test_the_same_query_in_another_order_is_the_same(cache: SearchCache) -> None:
    cache.put(QUERY, ROWS, NOON)
    assert cache.get(dict(reversed(QUERY.items()))) == (ROWS, NOON)


def test_another_query_has_another_answer(cache: SearchCache) -> None:
    cache.put(QUERY, ROWS, NOON)
    assert cache.get({**QUERY, "dph_total": {"gte": 1.5}}) is None


def test_an_old_answer_is_none(cache: SearchCache, clock: Clock) -> None:
    cache.put(QUERY, ROWS, NOON)
    clock.now += FRESH + timedelta(seconds=1)
    assert cache.get(QUERY) is None


def test_an_answer_from_the_future_is_none_for_no_clock_may_keep_a_price_alive(cache: SearchCache) -> None:
    cache.put(QUERY, ROWS, NOON + timedelta(hours=1))
    assert cache.get(QUERY) is None


def test_old_answers_do_not_pile_up(cache: SearchCache, clock: Clock) -> None:
    clock.now = datetime.now(UTC)
    for number in range(3):
        cache.put({"page": number}, ROWS, clock.now)
    assert len(files(cache)) == 3
    clock.now += FRESH + timedelta(seconds=5)
    cache.put(QUERY, ROWS, clock.now)
    assert cache.get(QUERY) == (ROWS, clock.now)
    assert len(files(cache)) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"rows": [{}]}', '{"as_of": "soon", "rows": []}', '{"as_of": "2026-11-21T12:00:00Z"}'],
)
def test_a_file_that_is_broken_is_as_none(text: str, cache: SearchCache) -> None:
    cache.put(QUERY, ROWS, NOON)
    files(cache)[0].write_text(text)
    assert cache.get(QUERY) is None


def test_readers_beside_writers_see_whole_answers(cache: SearchCache) -> None:
    rows = [{"id": number, "padding": "x" * 500} for number in range(50)]
    cache.put(QUERY, rows, NOON)
    writers = [threading.Thread(target=cache.put, args=(QUERY, rows, NOON)) for _ in range(8)]
    for writer in writers:
        writer.start()
    assert all(cache.get(QUERY) == (rows, NOON) for _ in range(50))
    for writer in writers:
        writer.join()
    assert len(files(cache)) == 1, "no half written file may stay"


def test_what_cannot_be_written_is_not_kept_and_no_error(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("")
    cache = SearchCache(tmp_path / "file" / "below", clock)
    cache.put(QUERY, ROWS, NOON)
    cache.remember_quota(NOON + timedelta(hours=1))
    assert cache.get(QUERY) is None
    assert cache.quota_until() is None


def test_an_exceeded_quota_is_remembered_until_its_reset(cache: SearchCache, clock: Clock) -> None:
    midnight = NOON + timedelta(hours=12)
    assert cache.quota_until() is None
    cache.remember_quota(midnight)
    assert cache.quota_until() == midnight
    assert SearchCache(cache._folder, clock).quota_until() == midnight
    clock.now = midnight
    assert cache.quota_until() is None


def test_what_was_found_before_the_quota_was_exceeded_stays(cache: SearchCache) -> None:
    cache.put(QUERY, ROWS, NOON)
    cache.remember_quota(NOON + timedelta(hours=12))
    assert cache.get(QUERY) == (ROWS, NOON)


def test_a_quota_of_a_clock_that_was_wrong_forbids_nothing(cache: SearchCache, clock: Clock) -> None:
    cache.remember_quota(NOON + timedelta(hours=12))
    clock.now = NOON - timedelta(days=300)
    assert cache.quota_until() is None
