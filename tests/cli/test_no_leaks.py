"""No misbehaviour of a cloud, and no end of a command, leaves a bill behind."""

import signal
from collections.abc import Iterator

import pytest
from driver import Gpu, wait_until
from emulators.runpod import RunPodEmulator
from leaks import Account, Case, Moment, cut_short, loads, once, run


@pytest.fixture
def account(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("GPU_RUNPOD_POLL_S", "0.1")
    # The real streams leave it to be guessed that there is no more for now.
    monkeypatch.setattr("emulators.runpod.logs.KEEPALIVE_S", 0.1)
    with RunPodEmulator(engine="stub") as cloud:
        for name, value in cloud.env.items():
            monkeypatch.setenv(name, value)
        yield Account(gpu, cloud, "runpod")
        assert gpu.close() == []  # a guard that is at it would go on trying without a cloud


LOST = once("server-error", when="after")
LAGGING = {"do": "list-lag", "seconds": 0.4}
KEY_REFUSED = {"do": "server-error", "call": "delete", "status": 401}
ELSEWHERE = {"system-line"}
"""Words of test_runpod_hosts.py: nothing is left there either."""
# Of one start: what becomes of its create, of its boot and of its end have nothing to do with each other.
CASES = (
    # the answer to a create is lost: what may have been made is looked for, and taken
    Case([LOST, LAGGING, {"do": "delete-500-works"}], wait=False),
    Case([once("truncated"), KEY_REFUSED], down=9, wait=False),
    # or passed over, and a cloud that is silent again and again is not asked for ever
    Case([{"do": "reset", "call": "create"}], 5, "not-launched", made=0),
    # answers that are not to be understood
    Case(
        [
            once("reset", when="after"),
            *({"do": "unknown-enum", "call": call} for call in ("get", "list", "logs")),
            {"do": "html", "call": "delete", "times": 4},
            {"do": "delete-204-stays", "times": 3},
        ]
    ),
    Case([{"do": "unknown-enum"}], 3, "nothing-fits", made=0),
    Case([*({"do": "missing-fields", "call": call} for call in ("create", "get", "list")), {"do": "delete-locked"}]),
    # refusals
    Case(
        [
            once("rate-limit", retry_after=1),
            {"do": "no-capacity", "times": 2},
            {"do": "unknown-enum", "call": "create"},
            once("rate-limit", "delete", retry_after=1),
            {"do": "delete-lag", "seconds": 1.0},
        ],
        wait=False,
    ),
    Case([{"do": "no-funds"}], 4, "not-launched", made=0),
    # as mere text a command does not replace the entrypoint of the image, which then does not understand it
    Case([{"do": "no-arrays"}, {"do": "no-json-args"}], 6, "bad-engine-args", engine="stub"),
    Case([{"do": "rate-limit", "retry_after": 600}], 5, "no-answer", made=0),
    Case([{"do": "edge-block"}], 5, "no-answer", made=0),
    # hosts that do not come up
    Case(
        [
            once("timeout", when="after", seconds=0.5),
            {"do": "early-running", "seconds": 0.7},
            {"do": "no-arrays"},
            {"do": "html", "call": "get", "times": 2},
            {"do": "truncated", "call": "list", "times": 1},
        ],
        engine="stub",
    ),
    Case([once("preempt", seconds=0.3)], made=2),
    # ends that are not to be believed
    Case([{"do": "never-boots"}, KEY_REFUSED], 9, "cleanup-unconfirmed"),
)


SERVERLESS = (
    Case([LOST, LAGGING, KEY_REFUSED], down=9),
    Case([{"do": "never-boots"}, {"do": "delete-204-stays", "times": 3}], 6, "start-deadline"),
    Case([{"do": "crash-loop", "seconds": 0.1}, {"do": "delete-500-works"}], 6, "engine-error"),
)


def test_every_misbehaviour_that_there_is_was_thought_of() -> None:
    assert {rule["do"] for case in (*CASES, *SERVERLESS) for rule in case.rules} | ELSEWHERE == set(
        RunPodEmulator.WORDS
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_the_cloud_does_no_pod_is_left(account: Account, case: Case) -> None:
    run(account, case)


@pytest.mark.parametrize("case", SERVERLESS, ids=str)
def test_whatever_the_cloud_does_no_endpoint_is_left(account: Account, case: Case) -> None:
    run(account, case, "--serverless", "--start-deadline", "3s" if case.code == "start-deadline" else "60s")


# It is made at once, the answer never comes, and the lists do not know of it yet.
UNANSWERED = (once("timeout", when="after", seconds=5.0), {"do": "list-lag", "seconds": 0.4})
MOMENTS = {
    "create-endpoint": Moment(UNANSWERED, {}, lambda account: bool(account.alive()), ["--serverless"]),
    "boot": Moment([{"do": "early-running", "seconds": 60.0}], {}, lambda account: account.asked("GET", "/v2/pods/")),
    "load": Moment([], {"load_s": 60}, lambda account: loads(account.cloud.pods)),
}
"""More are in the simulation, wherever a command asks anything of its cloud; there it is killed each time."""


def test_what_a_killed_command_was_starting_is_ended_by_the_guard(account: Account) -> None:
    cut_short(account, MOMENTS["create-endpoint"]).signal(signal.SIGKILL)
    wait_until(lambda: not account.alive())
    wait_until(lambda: account.gpu.state_of("rented") == "failed")
    assert len(account.made()) == 1


@pytest.mark.parametrize(("moment", "number"), [("create-endpoint", signal.SIGTERM), ("load", signal.SIGINT)])
def test_what_an_interrupted_command_was_starting_is_ended_by_itself(
    account: Account, moment: str, number: signal.Signals
) -> None:
    up = cut_short(account, MOMENTS[moment])
    account.gpu.kill_guard()
    up.signal(number)
    ended = up.result()
    assert (ended.exit, ended.error["code"]) == (130, "interrupted"), ended.stderr
    assert not account.alive()
    assert account.gpu.state_of("rented") == "failed"


def test_a_guard_that_was_started_without_the_clouds_key_gets_it_with_the_first_launch_there(
    account: Account, tiny: str
) -> None:
    assert account.gpu("up", tiny, "--name", "here", env={"RUNPOD_API_KEY": ""}).exit == 0
    cut_short(account, MOMENTS["boot"]).signal(signal.SIGKILL)
    wait_until(lambda: not account.alive())


def test_a_guard_keeps_the_clouds_key_when_later_commands_lack_it(account: Account, tiny: str) -> None:
    up = cut_short(account, MOMENTS["boot"])
    assert account.gpu("up", tiny, "--name", "here", env={"RUNPOD_API_KEY": ""}).exit == 0
    up.signal(signal.SIGKILL)
    wait_until(lambda: not account.alive())
