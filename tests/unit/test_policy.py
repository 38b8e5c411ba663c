"""What is tried after what has failed: one table, which people can read, and what it means for each offer."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sellers import offer

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.launch.attempts import MOST_MESSAGES, tried_document, why_nothing
from gpu_cli.fleet.launch.engine_log import _CAUSES
from gpu_cli.fleet.launch.health import NeverHealthy
from gpu_cli.fleet.launch.policy import FAILURES, Attempt, Next, failure_of, for_good, may_pass, must_stop, why_skipped
from gpu_providers import errors
from gpu_providers.base import Kind, Offer
from gpu_providers.errors import (
    AuthError,
    CommandCrashed,
    CreateUnknown,
    HostFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NoCredentials,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)

README = Path(__file__).parents[2] / "README.md"
OUT_OF_MEMORY = NeverHealthy(Exit.NEVER_HEALTHY, "out-of-memory", "the GPU ran out of memory", hint="log: x")
DIED = NeverHealthy(Exit.NEVER_HEALTHY, "engine-died", "the engine ended")
UNCONFIRMED = UserError(Exit.CLEANUP_UNCONFIRMED, "cleanup-unconfirmed", "not gone", still_billing=["gpu-x"])
ONE_OF_EACH: tuple[tuple[UserError | ProviderError, str], ...] = (
    (NoCapacity("x"), "no-capacity"),
    (HostFailed("x"), "host-failed"),
    (CommandCrashed("x"), "crashed"),
    (DIED, "crashed"),
    (NeverHealthy(Exit.NEVER_HEALTHY, "no-progress", "x"), "crashed"),
    (NeverHealthy(Exit.NEVER_HEALTHY, "terminated", "x"), "host-failed"),
    (OUT_OF_MEMORY, "out-of-memory"),
    (NeverHealthy(Exit.NEVER_HEALTHY, "gated", "x"), "engine-failed"),
    (NeverHealthy(Exit.NEVER_HEALTHY, "start-deadline", "x"), "start-deadline"),
    (RateLimited("x", retry_after_s=1.0), "rate-limited"),
    (ProviderUnavailable("x"), "unavailable"),
    (ProviderError("x"), "unavailable"),
    (CreateUnknown("x"), "create-unknown"),
    (AuthError("x"), "credentials"),
    (NoCredentials("x"), "credentials"),
    (InsufficientFunds("x"), "no-funds"),
    (QuotaExceeded("x"), "quota"),
    (InvalidRequest("x"), "invalid-request"),
    (UNCONFIRMED, "cleanup-unconfirmed"),
)


def attempt(error: UserError | ProviderError | None, of: Offer | None = None) -> Attempt:
    return Attempt(of or offer(), error, 1.0, 0.5)


def at(provider: str = "runpod", **changes: object) -> Offer:
    made = replace(offer(provider), **changes)  # type: ignore[arg-type]
    return replace(made, offer_id=f"{provider}-{made.gpu}-{made.gpu_count}-{made.region}-{made.host}")


@pytest.mark.parametrize(("error", "word"), ONE_OF_EACH, ids=lambda value: getattr(value, "code", str(value)))
def test_each_failure_has_its_word(error: ProviderError, word: str) -> None:
    failure = failure_of(error)
    assert failure
    assert failure.word == word


def test_each_word_has_one_consequence_and_no_failure_is_left_out() -> None:
    assert {word for _, word in ONE_OF_EACH} == {failure.word for failure in FAILURES}
    assert len({failure.word for failure in FAILURES}) == len(FAILURES)
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, ProviderError):
            bare = kind.__new__(kind)
            assert failure_of(bare), kind


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        RuntimeError("a bug"),
        UserError(Exit.NEVER_HEALTHY, "ended-while-starting", "gpu down"),
        UserError(Exit.BAD_INPUT, "bad-recipe", "x"),
        NeverHealthy(Exit.LIMIT_REACHED, "deadline", "x"),
        NeverHealthy(Exit.NEVER_HEALTHY, "idle", "x"),
    ],
)
def test_what_the_user_did_or_a_bug_is_no_failure_of_an_offer(error: BaseException) -> None:
    assert failure_of(error) is None


def test_the_readme_has_this_table() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", README.read_text(), re.MULTILINE)
    assert [row for row in rows if row[0] in {failure.word for failure in FAILURES}] == [
        (failure.word, failure.phrase, failure.consequence) for failure in FAILURES
    ]


BIG = {"gpu": "H200", "gpu_memory_gib": 141.0}


@pytest.mark.parametrize(
    ("error", "failed", "next_one", "is_skipped"),
    [
        (NoCapacity("x"), at(), at(), True),
        (NoCapacity("x"), at(), at(region="us"), False),
        (NoCapacity("x"), at(), at(gpu_count=2), False),
        (NoCapacity("x"), at(), at(gpu="L4"), False),
        (NoCapacity("x"), at(), at("vast"), False),
        (NoCapacity("x"), at(interruptible=True), at(), False),
        (NoCapacity("x"), at(kind=Kind.SERVERLESS), at(), False),
        (NoCapacity("x"), at(host="m1"), at(host="m2"), False),
        (NoCapacity("x"), at(host="m1"), at(host="m1"), True),
        (NoCapacity("x"), at(host="m1"), at(host="m1", gpu_count=2), False),
        (HostFailed("x"), at(host="m1"), at(host="m1", region="us"), True),
        (HostFailed("x"), at(host="m1"), at(host="m2"), False),
        (HostFailed("x"), at(host="m1"), at("vast", host="m1"), False),
        (HostFailed("x"), at(), at(), True),
        (DIED, at(host="m1"), at(host="m1"), True),
        (DIED, at(host="m1"), at("vast"), False),
        (OUT_OF_MEMORY, at(), at("vast"), True),
        (OUT_OF_MEMORY, at(), at(gpu="L4", gpu_memory_gib=24.0, gpu_count=2), True),
        (OUT_OF_MEMORY, at(), at(**BIG), False),
        (OUT_OF_MEMORY, at(), at(gpu_count=2), False),
        (ProviderUnavailable("x"), at(host="m1"), at(host="m2"), False),
        (ProviderUnavailable("x"), at(host="m1"), at(host="m1"), True),
        *(
            (error, at(), other, other.provider == "runpod")
            for error in (
                RateLimited("x", retry_after_s=1.0),
                AuthError("x"),
                InsufficientFunds("x"),
                QuotaExceeded("x"),
            )
            for other in (at(**BIG), at("vast"))
        ),
        *((error, at(), at("vast", **BIG), True) for error in (InvalidRequest("x"), UNCONFIRMED)),
    ],
)
def test_what_is_passed_over_after_a_failure(
    error: ProviderError, failed: Offer, next_one: Offer, is_skipped: bool
) -> None:
    why = why_skipped(next_one, [attempt(error, failed)])
    assert bool(why) is is_skipped
    assert not why or failed.offer_id in why


@pytest.mark.parametrize(
    ("failures", "skipped_at"),
    [
        ([HostFailed("x")] * 2, ()),
        ([HostFailed("x")] * 3, ("runpod",)),
        ([HostFailed("x"), HostFailed("x"), DIED], ("runpod",)),
        ([ProviderUnavailable("x")], ()),
        ([ProviderUnavailable("x"), CreateUnknown("x")], ("runpod",)),
        ([DIED], ()),
        ([DIED, CommandCrashed("x")], ("runpod", "vast")),
    ],
)
def test_so_many_of_them_mean_something_else(failures: list[ProviderError], skipped_at: tuple[str, ...]) -> None:
    tried = [attempt(error, at(host=f"m{number}")) for number, error in enumerate(failures)]
    assert tuple(name for name in ("runpod", "vast") if why_skipped(at(name, host="new"), tried)) == skipped_at
    assert must_stop(tried) == ("vast" in skipped_at)


def test_hosts_that_fail_are_counted_for_each_provider_and_crashes_in_all() -> None:
    hosts = [attempt(HostFailed("x"), at(name, host=f"m{n}")) for name in ("runpod", "vast") for n in range(2)]
    assert not any(why_skipped(at(name, host="new"), hosts) for name in ("runpod", "vast", "lambda"))
    crashes = [attempt(DIED, at(name)) for name in ("runpod", "vast")]
    assert must_stop(crashes)


_ERRORS = st.sampled_from([error for error, _ in ONE_OF_EACH])
_OFFERS = st.builds(
    at,
    st.sampled_from(["runpod", "vast"]),
    host=st.sampled_from(["", "m1", "m2"]),
    region=st.sampled_from(["eu", "us"]),
    gpu_count=st.sampled_from([1, 2]),
)
_TRIED = st.lists(st.builds(attempt, _ERRORS, _OFFERS), max_size=6)


@given(tried=_TRIED, more=_TRIED, one=_OFFERS)
def test_what_is_passed_over_stays_so_whatever_else_fails(
    tried: list[Attempt], more: list[Attempt], one: Offer
) -> None:
    assert not why_skipped(one, tried) or why_skipped(one, [*tried, *more])


@given(error=_ERRORS, one=_OFFERS)
def test_the_same_offer_is_never_ordered_again_after_it_has_failed(error: ProviderError, one: Offer) -> None:
    assert why_skipped(one, [attempt(error, one)])


@given(tried=_TRIED, one=_OFFERS)
def test_after_what_ends_all_nothing_is_tried_and_nothing_is_waited_for(tried: list[Attempt], one: Offer) -> None:
    if must_stop(tried):
        assert why_skipped(one, tried)
        assert not may_pass(tried)


def test_time_mends_what_is_sold_out_and_not_what_is_wrong() -> None:
    sold_out, refused = attempt(NoCapacity("x")), attempt(AuthError("x"), at("vast"))
    assert may_pass([sold_out, refused])
    assert not may_pass([refused])
    assert not may_pass([attempt(OUT_OF_MEMORY)])
    assert for_good([sold_out, refused]) == [refused]


def test_no_diagnosis_of_the_engine_is_taken_for_a_crash_that_nothing_explains() -> None:
    crashed = failure_of(DIED)
    for _, code, _, _ in _CAUSES:
        assert failure_of(NeverHealthy(Exit.NEVER_HEALTHY, code, "x")) is not crashed


def ended(*errors: UserError | ProviderError) -> UserError:
    return why_nothing([attempt(error, at(host=f"m{number}")) for number, error in enumerate(errors)])


@pytest.mark.parametrize(
    ("errors", "status", "code"),
    [
        ([NoCapacity("x")], Exit.LAUNCH_FAILED, "not-launched"),
        ([NoCapacity("x"), AuthError("x")], Exit.LAUNCH_FAILED, "not-launched"),
        ([InsufficientFunds("x"), AuthError("x")], Exit.CREDENTIALS, "not-launched"),
        ([HostFailed("x"), NoCapacity("x")], Exit.NEVER_HEALTHY, "not-launched"),
        ([NoCapacity("x"), InvalidRequest("x")], Exit.BAD_INPUT, "refused"),
        ([HostFailed("x"), UNCONFIRMED], Exit.CLEANUP_UNCONFIRMED, "cleanup-unconfirmed"),
        ([OUT_OF_MEMORY, NoCapacity("x")], Exit.NEVER_HEALTHY, "out-of-memory"),
        ([CommandCrashed("x"), CommandCrashed("x")], Exit.NEVER_HEALTHY, "not-launched"),
    ],
)
def test_the_error_in_the_end_says_the_most_telling_thing(
    errors: list[UserError | ProviderError], status: Exit, code: str
) -> None:
    assert (ended(*errors).exit_status, ended(*errors).code) == (status, code)


def test_an_error_stays_short_however_much_was_tried() -> None:
    first = at(host="m0").offer_id
    assert ended(NoCapacity("x"), NoCapacity("x")).message == f"nothing could be launched: {first} and 1 more: x"
    many = ended(*(NoCapacity(f"reason {number}") for number in range(MOST_MESSAGES + 2))).message
    assert many.endswith("; and 2 more reasons")


def test_scripts_are_told_of_every_attempt() -> None:
    failed, made = tried_document([attempt(NoCapacity("sold out"), at()), attempt(None, at("vast"))])
    assert failed == {
        "provider": "runpod",
        "kind": "pod",
        "gpu": "H100",
        "gpu_count": 1,
        "region": "eu",
        "offer_id": at().offer_id,
        "failure": "no-capacity",
        "message": "sold out",
        "seconds": 1.0,
        "cost_usd": 0.5,
    }
    assert (made["failure"], made["message"]) == (None, "ready")


def test_every_consequence_is_used() -> None:
    used = {failure.then for failure in FAILURES} | {failure.bound.then for failure in FAILURES if failure.bound}
    assert used == set(Next)
