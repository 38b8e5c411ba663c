"""No misbehaviour of Lambda, and no kill of a command, leaves a machine that bills."""

import signal
from collections.abc import Iterator

import pytest
from driver import Gpu, wait_until
from emulators.lambda_cloud import LambdaEmulator
from leaks import Account, Case, Moment, cut_short, once, run
from rented import point_at

SPEED, POLL_S = 50.0, "0.1"
"""So that a look is one every five seconds of the cloud's."""
REGIONS = ("us-east-1", "us-west-1", "us-west-2")
"""A few offers, so that it does not take long to have tried them all."""


@pytest.fixture
def account(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with LambdaEmulator(engine="stub", speed=SPEED, stock={"gpu_1x_a10": REGIONS}) as cloud:
        point_at(cloud, monkeypatch)
        monkeypatch.setenv("GPU_LAMBDA_POLL_S", POLL_S)
        yield Account(gpu, cloud, "lambda", {"gpu": {"names": ["A10"]}, "limits": {"ttl": "1h"}})
        assert gpu.close() == []  # a guard that is at it would go on trying without a cloud


UNSEEN = {"do": "unseen", "seconds": 50.0}
LAGGING = {"do": "list-lag", "seconds": 20.0}
KEY_REFUSED = {"do": "server-error", "call": "delete", "status": 401}
ODD = ({"do": "auth-late", "seconds": 20.0}, {"do": "plants-no-host-key"}, {"do": "old-driver"})
CASES = (
    # the answer to a launch is lost: what may have been made is looked for, and taken
    Case([once("reset", when="after"), LAGGING, {"do": "unknown-enum", "call": "get"}], wait=False),
    Case([once("timeout", when="after", seconds=0.3), UNSEEN, {"do": "delete-500-works"}], wait=False),
    Case([once("missing-fields", fields=["instance_ids"]), KEY_REFUSED, {"do": "missing-fields"}], down=9, wait=False),
    # refusals
    Case([once("no-capacity"), once("rate-limit", "list", retry_after=1), once("delete-locked", "delete")], wait=False),
    Case([once("no-capacity"), once("truncated", "offers"), {"do": "no-funds"}], 4, made=0),
    Case([{"do": "spend-limit"}], 5, made=0),
    Case([{"do": "edge-block"}], 5, "no-answer", made=0),
    # machines that do not come up, or at the third attempt, or with a command that ends
    Case(
        [once("never-boots"), {"do": "crash-loop"}, {"do": "delete-lag", "seconds": 40.0}],
        6,
        "engine-error",
        made=2,
    ),
    Case(
        [once("host-state", text="unhealthy"), once("broken-gpu", after=1), once("delete-204-stays", "delete"), *ODD],
        made=3,
    ),
    Case([once("host-state", text="terminated")], 6, "engine-died"),
    Case([{"do": "no-image"}, {"do": "docker-broken"}, once("html", "delete")], 2, "refused"),
)


def test_every_misbehaviour_that_there_is_was_thought_of() -> None:
    assert {rule["do"] for case in CASES for rule in case.rules} == set(LambdaEmulator.WORDS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_the_cloud_does_no_machine_is_left(account: Account, case: Case) -> None:
    run(account, case)


def test_what_a_killed_command_was_starting_is_ended_by_the_guard(account: Account) -> None:
    """It is made at once, the answer never comes, and nothing shows it yet."""
    unanswered = Moment([once("timeout", when="after", seconds=5.0), UNSEEN], {}, Account.alive)
    cut_short(account, unanswered).signal(signal.SIGKILL)
    wait_until(lambda: not account.alive())
    wait_until(lambda: account.gpu.state_of("rented") == "failed")
    assert len(account.made()) == 1
