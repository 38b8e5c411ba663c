"""No misbehaviour of Lambda leaves a machine that bills."""

from collections.abc import Iterator

import pytest
from driver import Gpu
from emulators.lambda_cloud import LambdaEmulator
from leaks import Account, Case, once, run
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
ELSEWHERE = {"auth-late", "broken-gpu", "docker-broken", "no-image", "old-driver", "plants-no-host-key"}
"""Words of test_lambda_hosts.py: nothing is left there either."""
CASES = (
    # the answer to a launch is lost: what may have been made is looked for, and taken
    Case(
        [once("reset", when="after"), LAGGING, {"do": "unknown-enum", "call": "get"}, {"do": "delete-500-works"}],
        wait=False,
    ),
    Case([once("missing-fields", fields=["instance_ids"]), KEY_REFUSED, {"do": "missing-fields"}], down=9, wait=False),
    # refusals
    Case(
        [
            once("no-capacity"),
            once("timeout", when="after", seconds=0.3, after=1),
            UNSEEN,
            once("rate-limit", "list", retry_after=1),
            once("delete-locked", "delete"),
        ],
        wait=False,
    ),
    Case([once("no-capacity"), once("truncated", "offers"), {"do": "no-funds"}], 4, made=0),
    Case([{"do": "spend-limit"}], 5, made=0),
    Case([{"do": "edge-block"}], 5, "no-answer", made=0),
    # machines that do not come up, and one whose command ends again and again
    Case(
        [
            once("never-boots"),
            once("host-state", text="terminated", after=1),
            once("host-state", text="unhealthy", after=1),
            once("delete-204-stays", "delete"),
            {"do": "delete-lag", "seconds": 40.0},
        ],
        6,
        made=3,
    ),
    Case([{"do": "crash-loop"}, once("html", "delete")], 6, "engine-error", engine="stub"),
)


def test_every_misbehaviour_that_there_is_was_thought_of() -> None:
    assert {rule["do"] for case in CASES for rule in case.rules} | ELSEWHERE == set(LambdaEmulator.WORDS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_the_cloud_does_no_machine_is_left(account: Account, case: Case) -> None:
    run(account, case)
