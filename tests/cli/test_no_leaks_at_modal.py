"""No misbehaviour of Modal leaves an app, a container that bills, or a token.

What Modal refuses is in test_modal_refused.py and test_offers_of_modal.py, and what its edge refuses in
test_modal_served.py: nothing is left there either.
"""

import shutil
import signal
from collections.abc import Iterator

import pytest
from driver import Gpu
from emulators.modal_cloud import ModalEmulator
from leaks import Account, Case, Moment, cut_short, once, run
from rented import point_at
from rented_at_modal import assert_nothing_is_left

POLL_S = "0.1"
ELSEWHERE = {"spend-limit", "image-build-failed", "gpu-refused", "rates-refused", "tokens-refused", "no-bearer"}
"""Words of the other tests."""
NO_CARD = {"do": "no-capacity"}
"""None is ever free: what there is to leave is an app that waits for one, and its token."""


def is_loading(cloud: ModalEmulator) -> bool:
    """An engine does, in a container that bills."""
    return any("Starting to load" in line for container in cloud.live_containers() for line in container.log)


@pytest.fixture
def account(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with ModalEmulator(engine="stub", redirect_after_s=0.2) as cloud:
        point_at(cloud, monkeypatch)
        monkeypatch.setenv("GPU_MODAL_POLL_S", POLL_S)
        yield Account(gpu, cloud, "modal", {"gpu": {"names": ["H100"], "count": 1}, "limits": {"ttl": "1h"}})
        assert_nothing_is_left(cloud, gpu)
        assert gpu.close() == []  # a guard that is at it would go on trying without a cloud


CASES = (
    # the answer to a deploy is lost: what may have been made is looked for, and taken
    Case(
        [
            {"do": "lost-publish", "times": 8},
            {"do": "list-lag", "seconds": 0.4},
            {"do": "unavailable", "call": "delete", "times": 5},
            {"do": "delete-500-works", "times": 1},
            {"do": "delete-204-stays", "times": 1},
            {"do": "delete-lag", "seconds": 0.3},
            NO_CARD,
        ],
        wait=False,
    ),
    # or there is nothing, and a cloud that is silent again and again is not asked for ever
    Case([{"do": "unavailable", "call": "create"}], 5, made=0, wait=False),
)


KEY_REFUSED = ({"do": "server-error", "call": "delete", "status": 401}, once("server-error", "list"))
LATE = (once("slow-publish", seconds=0.3), once("rate-limit", retry_after=1), once("timeout", "get", seconds=0.1))
"""Answers that come late, or are to be asked for again."""
LOADING = Moment([once("crash-loop")], {"load_s": 60}, lambda account: is_loading(account.cloud))
"""At the second attempt."""


def test_every_misbehaviour_that_there_is_was_thought_of() -> None:
    rules = (KEY_REFUSED, LATE, LOADING.rules, *(case.rules for case in CASES))
    assert {rule["do"] for some in rules for rule in some} | ELSEWHERE == set(ModalEmulator.WORDS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_the_cloud_does_no_app_is_left(account: Account, case: Case) -> None:
    run(account, case)


def test_what_an_interrupted_command_was_starting_is_ended_by_itself(account: Account) -> None:
    up = cut_short(account, LOADING)
    account.gpu.kill_guard()
    up.signal(signal.SIGINT)
    ended = up.result()
    assert (ended.exit, ended.error["code"]) == (130, "interrupted"), ended.stderr
    assert not account.alive()


def test_gc_finds_an_app_whose_record_was_lost_and_that_could_not_be_ended_and_its_token_with_it(
    account: Account,
) -> None:
    account.cloud.misbehave(*LATE, *KEY_REFUSED, NO_CARD)
    assert account.up("--no-wait").exit == 0
    down = account.gpu("down", "rented", "--json")
    (app,) = account.cloud.apps_deployed()
    assert (down.exit, down.error["still_billing"]) == (9, [app])
    account.gpu.kill_guard()
    shutil.rmtree(account.gpu.home)
    account.mend()
    collected = account.gpu("gc", "--yes", "--json")
    assert collected.exit == 0, collected.stderr
    assert [one["resource_name"] for one in collected.json["removed"]] == [app]
