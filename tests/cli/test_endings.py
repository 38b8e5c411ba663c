"""What ends a deployment that nobody takes down, and what must not."""

import threading
import time
from collections.abc import Callable

import httpx
import pytest
from conftest import WriteRecipe
from driver import Gpu, wait_until

PRICED = {"local": {"price_usd_per_hour": 3.6}}


def ended(gpu: Gpu, *, within_s: float = 60) -> dict[str, object]:
    """The one deployment, when it has ended and nothing of it runs."""
    wait_until(lambda: not gpu.processes("supervisor.py") and not gpu.engines(), within_s)
    wait_until(lambda: gpu.ls()[0]["ended_at"], within_s)
    (deployment,) = gpu.ls()
    return deployment


def stream(document: dict[str, str], *, tokens: int) -> int:
    """Ask for an answer that takes as many seconds as it has tokens; how many came."""
    request = {"model": document["model"], "prompt": "", "max_tokens": tokens, "stream": True, "user": "slow:1"}
    headers = {"Authorization": f"Bearer {document['api_key']}"}
    url = f"{document['base_url']}/completions"
    came = 0
    try:
        with httpx.stream("POST", url, json=request, headers=headers, timeout=30) as response:
            for line in response.iter_lines():
                came += "Paris" in line
    except httpx.HTTPError:
        pass  # it was ended in the middle
    return came


def test_a_long_request_is_not_idleness_and_then_it_ends_by_itself_and_ls_and_down_say_so(
    gpu: Gpu, recipe: WriteRecipe
) -> None:
    document = gpu("up", str(recipe(limits={"idle": "2s"})), "--json", "--show-key").json
    assert stream(document, tokens=5) == 5
    finished = time.monotonic()
    assert gpu.state_of("tiny") == "ready"
    assert ended(gpu)["reason"] == "idle"
    assert time.monotonic() - finished >= 1.5
    down = gpu("down", "tiny")
    assert down.exit == 0
    assert "tiny was gone already" in down.stderr


def test_the_deadline_ends_even_a_busy_deployment(gpu: Gpu, tiny: str) -> None:
    document = gpu("up", tiny, "--ttl", "8s", "--json", "--show-key").json
    came: list[int] = []
    asking = threading.Thread(target=lambda: came.append(stream(document, tokens=60)))
    asking.start()
    end = ended(gpu)
    asking.join()
    assert (end["state"], end["reason"]) == ("gone", "deadline")
    assert came[0] < 60


def test_a_deadline_in_the_middle_of_the_start_is_exit_7(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(misbehaviour={"load_s": 30})), "--ttl", "2s", "--json")
    assert up.exit == 7, up.stderr
    assert "deadline" in up.error["message"]
    assert gpu.engines() == []


def test_a_start_that_takes_too_long_is_given_up(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(misbehaviour={"load_s": 30})), "--start-deadline", "2s", "--json")
    assert (up.exit, up.error["code"]) == (6, "start-deadline")
    assert gpu.engines() == []


def test_a_budget_that_pays_for_no_start_is_refused(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(providers=PRICED)), "--budget", "0.01", "--json")
    assert (up.exit, up.error["code"]) == (7, "budget-too-small")
    assert gpu.ls() == []


def test_the_guard_ends_what_has_used_up_its_budget(
    gpu: Gpu, recipe: WriteRecipe, database: Callable[[str], None]
) -> None:
    document = gpu("up", str(recipe(providers=PRICED)), "--budget", "1.8", "--json").json
    assert [stop["by"] for stop in document["stops"] if stop["kind"] == "budget"] == ["guard"]
    database("UPDATE deployments SET metered_at = metered_at - 1700")
    time.sleep(2.5)
    assert gpu.state_of("tiny") == "ready"
    database("UPDATE deployments SET metered_at = metered_at - 100")
    end = ended(gpu)
    assert (end["state"], end["reason"]) == ("gone", "budget")
    assert 1.79 < float(str(end["spent_usd"])) < 1.9


def test_the_guard_ends_what_is_idle_when_the_supervisor_does_not(
    gpu: Gpu, recipe: WriteRecipe, database: Callable[[str], None]
) -> None:
    gpu("up", str(recipe(limits={"idle": "30s"})))
    time.sleep(2.5)  # the guard has seen the canary
    supervisor = gpu.supervisor()
    supervisor.suspend()
    database("UPDATE deployments SET active_at = active_at - 41")
    wait_until(lambda: "idle" in (gpu.home / "state" / "logs" / "guard.log").read_text())
    supervisor.resume()
    assert ended(gpu)["reason"] == "idle"


def test_without_a_guard_ls_ends_what_is_overdue(gpu: Gpu, tiny: str, database: Callable[[str], None]) -> None:
    gpu("up", tiny)
    gpu.kill_guard()
    database("UPDATE deployments SET deadline_at = launched_at + 0.1")
    (listed,) = gpu.ls()
    assert (listed["state"], listed["reason"]) == ("gone", "deadline")
    assert gpu.engines() == []


@pytest.mark.parametrize("command", ["up", "ls"])
def test_a_guard_that_was_killed_is_started_again(gpu: Gpu, tiny: str, command: str) -> None:
    url = gpu("up", tiny).stdout
    gpu.kill_guard()
    if command == "up":
        assert gpu("up", tiny).stdout == url
    (listed,) = gpu.ls()
    assert all(stop["armed"] for stop in listed["stops"])
    assert gpu.guard()
