"""`gpu up` at Vast.ai when machines do not come up: what is given up, what is tried next, and what is remembered."""

import re
from collections.abc import Callable

import pytest
from driver import Gpu, wait_until
from emulators.vast import VastEmulator
from rented import billed
from rented_at_vast import created, destroyed, living, machines, made, up

Rentable = Callable[..., str]
Rule = dict[str, object]
BY_PRICE = ["15002", "15003", "15005"]
"""The machines with an H100 that a careful person would rent."""
FLIP_S = 31.0
"""An instance that is so old and meant to be stopped will not run any more."""


@pytest.fixture(scope="module")
def engine() -> str:
    """Nobody asks it anything here that wants a process."""
    return "pretend"


def avoided(gpu: Gpu, recipe: str) -> dict[str, str]:
    """Why `gpu plan` leaves machines alone, by their numbers."""
    plan = gpu("plan", recipe, "--provider", "vast", "--all")
    assert plan.exit == 0, plan.stderr
    return dict(re.findall(r"^not vast-.+-m(\d+): its host did not come up lately: (.+)", plan.stderr, re.MULTILINE))


def test_when_two_hosts_never_boot_the_third_works_and_the_two_are_ended_and_left_alone(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    recipe = rentable("H100")
    vast.misbehave({"do": "never-boots", "times": 2})
    launched = up(gpu, recipe, "--boot-deadline", "1s")
    assert launched.exit == 0, launched.stderr
    assert launched.stderr.count("ending tiny: its host showed no progress for 1s") == 2
    assert machines(vast) == BY_PRICE
    assert living(vast) == [launched.json["resource_id"]]
    first, second, third = made(vast)
    assert destroyed(vast) == [str(first.id), str(second.id)]
    assert third.container
    assert not billed(vast, str(first.id))["alive"]
    assert sorted(one["state"] for one in gpu.ls()) == ["failed", "failed", "ready"]
    assert sorted(avoided(gpu, recipe)) == BY_PRICE[:2]
    again = up(gpu, recipe, "--name", "again", "--no-wait")
    assert again.exit == 0, again.stderr
    assert machines(vast)[3:] == BY_PRICE[2:]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            [
                {"do": "host-state", "text": "exited", "times": 1},
                {"do": "host-state", "text": "unknown", "times": 1},
                {"do": "clipped-disk", "after": 2},
            ],
            ["its command has ended", "its host gives no sign of life", "GB of disk"],
        ),
        (
            [
                {"do": "host-state", "text": "offline", "times": 1},
                {"do": "host-state", "text": "frozen", "times": 1},
                {"do": "host-stops", "after": 2},
            ],
            ["its host is offline", "its container is frozen", "stopped by Vast.ai"],
        ),
    ],
)
def test_every_state_that_is_the_end_of_a_start_ends_the_instance_and_after_three_it_is_given_up(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable, rules: list[Rule], told: list[str]
) -> None:
    vast.misbehave(*rules, {"do": "never-boots"})
    recipe = rentable("H100", "B300")
    run = gpu.start("up", recipe, "--provider", "vast", "--json")
    wait_until(lambda: len(made(vast)) == 3)
    wait_until(lambda: not made(vast)[-1].fates)
    vast.clock.advance(FLIP_S)
    failed = run.result()
    assert (failed.exit, failed.error["still_billing"]) == (6, []), failed.stderr
    assert machines(vast) == BY_PRICE
    assert sorted(destroyed(vast)) == [str(instance.id) for instance in made(vast)]
    assert living(vast) == []
    reasons = avoided(gpu, recipe)
    assert sorted(reasons) == BY_PRICE
    for machine, words in zip(BY_PRICE, told, strict=True):
        assert words in reasons[machine]


def test_an_image_that_no_registry_has_is_refused_at_once_and_not_tried_elsewhere(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    text = "Error response from daemon: manifest for vllm/vllm-openai:v0 not found: manifest unknown"
    vast.misbehave({"do": "system-line", "text": text})
    refused = up(gpu, rentable("H100"))
    assert refused.exit == 2, refused.stderr
    assert "its registry does not have the image" in refused.error["message"]
    assert len(created(vast)) == len(destroyed(vast)) == 1
    assert living(vast) == []


def test_a_command_that_ends_is_ended_with_its_log_kept(gpu: Gpu, vast: VastEmulator, rentable: Rentable) -> None:
    vast.misbehave({"do": "crash-loop", "seconds": 0.1})
    failed = up(gpu, rentable("H100"))
    assert failed.exit == 6, failed.stderr
    assert len(destroyed(vast)) == len(created(vast))
    assert living(vast) == []
    assert "Engine core failed to start" in gpu("logs", gpu.ls()[0]["name"]).stdout


def test_a_host_that_dies_while_only_the_guard_watches_is_ended_and_left_alone_too(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    recipe = rentable("H100")
    vast.misbehave({"do": "never-boots"}, {"do": "host-state", "text": "frozen"})
    assert up(gpu, recipe, "--no-wait").exit == 0
    wait_until(lambda: not living(vast))
    wait_until(lambda: gpu.state_of("tiny") == "failed")
    assert sorted(avoided(gpu, recipe)) == BY_PRICE[:1]
