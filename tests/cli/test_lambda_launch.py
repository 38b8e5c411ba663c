"""`gpu up` at Lambda: what is ordered, in which order and how fast, and what becomes of orders that go wrong."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from driver import Gpu, wait_until
from emulators.lambda_cloud import LambdaEmulator
from emulators.server import Request, Response
from rented import point_at
from rented_at_lambda import ended, kept_here, launches, living, places, up

Rentable = Callable[..., str]
BY_PRICE = ["gpu_1x_h100_sxm5@us-south-2", "gpu_1x_h100_sxm5@us-south-3", "gpu_2x_h100_sxm5@us-south-3"]
"""The first that have an H100 for it."""


@pytest.fixture(scope="module")
def datacenter() -> Iterator[LambdaEmulator]:
    """What is ordered here boots for as long as it lives."""
    with LambdaEmulator(boot_s=3600) as cloud:
        yield cloud


def test_a_name_is_on_record_before_the_cloud_hears_of_it_and_a_lost_answer_is_looked_up_by_it(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    at_lambda.misbehave(
        {"do": "timeout", "call": "create", "when": "after", "seconds": 0.5, "times": 1},
        {"do": "rate-limit", "call": "list", "retry_after": 1, "times": 1},
        {"do": "unseen", "seconds": 1.0},
    )
    run = gpu.start("up", rentable("H100"), "--provider", "lambda", "--no-wait", "--json")
    wait_until(lambda: launches(at_lambda))
    with closing(sqlite3.connect(gpu.home / "state" / "gpu.db")) as connection:
        recorded = connection.execute("SELECT resource_name, state FROM deployments").fetchall()
    assert recorded == [(launches(at_lambda)[0]["name"], "launching")]
    launched = run.result()
    assert launched.exit == 0, launched.stderr
    assert living(at_lambda) == [launched.json["resource_id"]]
    assert len(launches(at_lambda)) == 1


def test_capacity_that_is_shown_and_refused_is_passed_over(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    at_lambda.misbehave({"do": "no-capacity", "times": 1})
    launched = up(gpu, rentable("H100"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert "Lambda has no capacity left for this type in this region" in launched.stderr
    assert places(at_lambda) == BY_PRICE[:2]
    assert [folder.name for folder in kept_here(gpu)] == [launches(at_lambda)[1]["name"]]


def test_when_everything_is_sold_out_the_exit_is_5_and_nothing_is_left(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    at_lambda.misbehave({"do": "no-capacity"})
    refused = up(gpu, rentable(gpu={"names": ["H100"], "count": 1}), "--no-wait")
    assert (refused.exit, refused.error["code"], refused.error["still_billing"]) == (5, "not-launched", [])
    assert places(at_lambda) == BY_PRICE[:2]
    assert living(at_lambda) == kept_here(gpu) == []
    assert {one["state"] for one in gpu.ls()} == {"failed"}


def test_a_cloud_that_asks_for_patience_gets_it_and_one_machine_is_made_and_ended(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    storm = {"do": "rate-limit", "retry_after": 1, "times": 1}
    at_lambda.misbehave(*({**storm, "call": call} for call in ("create", "delete")))
    launched = up(gpu, rentable("H100"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert living(at_lambda) == [launched.json["resource_id"]]
    gpu.kill_guard()
    down = gpu("down")
    assert down.exit == 0, down.stderr
    assert (ended(at_lambda), living(at_lambda)) == ([launched.json["resource_id"]], [])


SPEED = 20.0
"""Twice the program's own, which believes to be at a tenth of the usual time: a busy machine delays requests."""


class Strict(LambdaEmulator):
    """It keeps the limits of rate, and a record of who broke them."""

    def __init__(self) -> None:
        super().__init__(limits=True, speed=SPEED, boot_s=72000)
        self.launched_at: list[float] = []
        self.refused: list[Request] = []

    def admit(self, request: Request) -> Response | None:
        refusal = super().admit(request)
        if refusal and refusal.status == 429:
            self.refused.append(request)
        elif request.path.endswith("/launch"):
            self.launched_at.append(self.clock.now())
        return refusal


def test_two_commands_at_once_keep_the_limits_of_the_account_between_them(
    gpu: Gpu, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Strict() as cloud:
        point_at(cloud, monkeypatch)
        monkeypatch.setenv("GPU_LAMBDA_POLL_S", "1")
        recipe = rentable("H100")
        commands = [
            gpu.start("up", recipe, "--provider", "lambda", "--no-wait", "--name", name) for name in ("one", "another")
        ]
        assert [command.result().exit for command in commands] == [0, 0]
        assert cloud.refused == []
        first, second = cloud.launched_at
        assert second - first >= 12
        assert gpu("down", "--all").exit == 0
        assert cloud.refused == []
        assert gpu.close() == []  # before its guard would look for a cloud in vain
