"""No misbehaviour of Vast.ai, and no end of a command, leaves a bill behind: not even that of a stopped one's disk."""

import signal
from collections.abc import Iterator

import pytest
from driver import Gpu, wait_until
from emulators.vast import VastEmulator
from leaks import Account, Case, Moment, cut_short, once, run
from rented import point_at

SPEED = 50.0
"""So that a look every 0.2 s is one every ten of the cloud's."""
CARDS = ("L4", "L40S")
"""A few offers, so that it does not take long to have tried them all."""


@pytest.fixture
def account(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with VastEmulator(engine="stub", speed=SPEED) as cloud:
        point_at(cloud, monkeypatch)
        yield Account(gpu, cloud, "vast", {"gpu": {"names": [*CARDS]}})
        assert gpu.close() == []  # a guard that is at it would go on trying without a cloud


UNSEEN = {"do": "unseen", "seconds": 50.0}
LAGGING = {"do": "list-lag", "seconds": 20.0}
KEY_REFUSED = {"do": "server-error", "call": "delete", "status": 401}
ELSEWHERE = {"host-state", "no-funds", "spend-limit", "system-line"}
"""Words of test_vast_launch.py and test_vast_hosts.py: nothing is left there either."""
CASES = (
    # the answer to a create is lost: what may have been made is looked for, and taken
    Case([once("reset", when="after"), LAGGING, {"do": "unknown-enum", "call": "get"}], wait=False),
    Case(
        [
            once("no-capacity"),
            once("missing-fields", fields=["new_contract"]),
            {"do": "missing-fields"},
            {"do": "delete-500-works"},
        ],
        wait=False,
    ),
    # a create that fails makes an instance all the same, which is stopped and costs its disk
    Case([once("bid-too-low"), once("server-error", "delete"), once("truncated", "get")], made=2, wait=False),
    Case([once("bid-too-low", status=400), {**UNSEEN, "times": 1}, {"do": "filters-ignored"}], made=2, wait=False),
    # refusals
    Case([once("ids-change"), once("rate-limit", retry_after=1), KEY_REFUSED], down=9, wait=False),
    Case([{"do": "ids-change"}, {"do": "search-quota", "after": 1}], 5, made=0),
    Case([{"do": "edge-block"}], 5, "no-answer", made=0),
    # hosts that do not come up
    Case([once("clipped-disk"), once("timeout", "get", seconds=0.3), {"do": "delete-lag", "seconds": 40.0}], made=2),
    Case([once("outbid"), once("host-stops"), UNSEEN, {"do": "delete-204-stays", "times": 1}], made=2),
    Case([{"do": "crash-loop", "seconds": 0.1}, {"do": "stale-log"}, once("html", "get")], 6, "engine-error"),
    # ends that are not to be believed
    Case([{**UNSEEN, "text": "get"}, once("rate-limit", "delete", retry_after=1)], wait=False),
    Case(
        [{"do": "no-container-key"}, {"do": "container-key-dies"}, {"do": "html", "call": "delete", "times": 4}],
        engine="stub",
    ),
    Case([{"do": "never-boots"}, KEY_REFUSED], 9, "cleanup-unconfirmed"),
)


def test_every_misbehaviour_that_there_is_was_thought_of() -> None:
    assert {rule["do"] for case in CASES for rule in case.rules} | ELSEWHERE == set(VastEmulator.WORDS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_the_cloud_does_no_instance_is_left(account: Account, case: Case) -> None:
    run(account, case)


def undoes(account: Account) -> bool:
    """Whether it is trying to end what a create that failed has made."""
    return account.asked("DELETE", "/instances/")


# It is made although that was refused, and does not end at once.
REFUSED = (once("bid-too-low"), {"do": "server-error", "call": "delete", "times": 4})


def test_what_a_killed_command_was_undoing_is_ended_by_the_guard(account: Account) -> None:
    cut_short(account, Moment(REFUSED, {}, undoes)).signal(signal.SIGKILL)
    wait_until(lambda: not account.alive())
    wait_until(lambda: account.gpu.state_of("rented") == "failed")
    assert len(account.made()) == 1


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (Moment(REFUSED, {}, undoes), signal.SIGTERM),
        (Moment([UNSEEN], {}, lambda account: account.asked("GET", "/instances/")), signal.SIGINT),
    ],
    ids=["undo", "unseen"],
)
def test_what_an_interrupted_command_was_starting_is_ended_by_itself(
    account: Account, moment: Moment, number: signal.Signals
) -> None:
    up = cut_short(account, moment)
    account.gpu.kill_guard()
    up.signal(number)
    ended = up.result()
    assert (ended.exit, ended.error["code"]) == (130, "interrupted"), ended.stderr
    assert not account.alive()
    assert account.gpu.state_of("rented") == "failed"


def test_what_the_cloud_stops_and_goes_on_billing_for_its_disk_is_ended_by_the_guard(account: Account) -> None:
    account.cloud.engine = "none"
    account.cloud.misbehave({"do": "host-stops", "seconds": 100.0}, {"do": "delete-204-stays", "times": 1})
    up = account.up("--no-wait")
    assert up.exit == 0, up.stderr
    assert len(account.made()) == 1
    wait_until(lambda: not account.alive())
    assert "stopped by Vast.ai" in account.gpu.ls()[0]["reason"]
