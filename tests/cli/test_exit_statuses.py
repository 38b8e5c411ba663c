"""Every exit status that scripts may branch on, by running the program."""

import signal
from collections.abc import Callable

import pytest
from conftest import Hub, WriteRecipe
from driver import Gpu, wait_until

from gpu_cli.exits import Exit

PROVEN: dict[Exit, str] = {
    Exit.DONE: "test_done",
    Exit.BUG: "test_a_bug_is_status_1_without_a_traceback_and_leaves_nothing",
    Exit.BAD_INPUT: "test_bad_input",
    Exit.NOTHING_FITS: "test_nothing_fits",
    Exit.CREDENTIALS: "test_gated_weights_are_a_matter_of_credentials",
    Exit.LAUNCH_FAILED: "test_a_provider_that_is_sold_out",
    Exit.NEVER_HEALTHY: "test_never_healthy",
    Exit.LIMIT_REACHED: "test_a_limit_that_refuses_to_begin",
    Exit.NO_SUCH_DEPLOYMENT: "test_no_such_deployment",
    Exit.CLEANUP_UNCONFIRMED: "test_cleanup_that_cannot_be_confirmed",
    Exit.INTERRUPTED: "test_interrupted",
}


def test_every_exit_status_has_its_test() -> None:
    assert set(PROVEN) == set(Exit)
    assert set(PROVEN.values()) <= set(globals())


def test_done(gpu: Gpu) -> None:
    assert gpu("ls").exit == 0


def test_a_bug_is_status_1_without_a_traceback_and_leaves_nothing(
    gpu: Gpu, tiny: str, plug_in: Callable[..., None]
) -> None:
    plug_in(launch="raise ZeroDivisionError('of all things')")
    up = gpu("up", tiny, "--provider", "plugged", "--json")
    assert (up.exit, up.error["exit"]) == (1, 1)
    assert up.error["message"] == "unexpected failure: ZeroDivisionError: of all things"
    assert "Traceback" not in up.stderr
    assert gpu.state_of("tiny") == "failed"
    assert "Traceback" in gpu("--debug", "up", tiny, "--provider", "plugged").stderr


@pytest.mark.parametrize("arguments", [["up", "no-such-recipe"], ["up", "--no-such-flag"], ["no-such-command"], []])
def test_bad_input(gpu: Gpu, arguments: list[str]) -> None:
    assert gpu(*arguments).exit == 2


def test_nothing_fits(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(gpu={"names": ["H100"]})), "--json")
    assert up.exit == 3
    assert "local-cpu has no GPU" in up.error["message"]


def test_a_price_over_the_limit_is_no_fit_either(gpu: Gpu, tiny: str, plug_in: Callable[..., None]) -> None:
    plug_in()
    up = gpu("up", tiny, "--provider", "plugged", "--max-price", "1", "--json")
    assert up.exit == 3
    assert "costs $2.00/h, over the limit of $1.00/h" in up.error["message"]


@pytest.mark.parametrize("status", [401, 403])
def test_gated_weights_are_a_matter_of_credentials(gpu: Gpu, recipe: WriteRecipe, hub: Hub, status: int) -> None:
    hub.status = status
    up = gpu("up", str(recipe(model="org/model")), "--json")
    assert (up.exit, up.error["code"]) == (4, "gated")
    assert "HF_TOKEN" in up.error["hint"]
    assert gpu.state_of("tiny") == "failed"


@pytest.mark.parametrize("arguments", ["offers", "launch"])
def test_a_refused_key_is_a_matter_of_credentials(
    gpu: Gpu, tiny: str, plug_in: Callable[..., None], arguments: str
) -> None:
    plug_in(**{arguments: "raise AuthError('the key is refused', hint='set PLUGGED_API_KEY')"})
    up = gpu("up", tiny, "--provider", "plugged", "--json")
    assert up.exit == 4
    assert up.error["hint"] == "set PLUGGED_API_KEY"


def test_a_provider_that_is_sold_out(gpu: Gpu, tiny: str, plug_in: Callable[..., None]) -> None:
    plug_in()
    up = gpu("up", tiny, "--provider", "plugged", "--json")
    assert (up.exit, up.error["code"]) == (5, "not-launched")
    assert "plugged-1: sold out" in up.error["message"]


def test_never_healthy(gpu: Gpu, recipe: WriteRecipe) -> None:
    assert gpu("up", str(recipe(misbehaviour={"die": ["MemoryError"]}))).exit == 6


def test_a_limit_that_refuses_to_begin(gpu: Gpu, tiny: str, plug_in: Callable[..., None]) -> None:
    plug_in()
    assert gpu("up", tiny, "--provider", "plugged", "--budget", "0.1").exit == 7


def test_no_such_deployment(gpu: Gpu) -> None:
    assert gpu("url", "nobody").exit == 8


def test_cleanup_that_cannot_be_confirmed(gpu: Gpu, plug_in: Callable[..., None]) -> None:
    plug_in(module="raise ImportError('half installed')")
    gc = gpu("gc", "--yes", "--json")
    assert gc.exit == 9
    assert "half installed" in gc.error["message"]


def test_interrupted(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu.start("up", str(recipe(misbehaviour={"load_s": 30})))
    wait_until(lambda: gpu.engines())
    up.signal(signal.SIGINT)
    assert up.result().exit == 130


def test_a_broken_plug_in_holds_up_nothing(gpu: Gpu, tiny: str, plug_in: Callable[..., None]) -> None:
    plug_in(module="raise ImportError('half installed')")
    up = gpu("up", tiny)
    assert up.exit == 0, up.stderr
    assert gpu.state_of("tiny") == "ready"
    assert gpu("down").exit == 0
