"""`gpu plan`, as it is typed: with the prices of the snapshot, since no cloud can be asked here."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Hub
from driver import Gpu, Ran
from rented import Kept

RECIPE = "llama-70b-fp8"
CANDIDATE_KEYS = {
    "rank", "provider", "kind", "gpu", "gpu_count", "region", "offer_id", "price_usd_per_hour", "price_parts",
    "session_cost_usd", "verdict", "kv_cache_tokens", "decode_tokens_per_s_total", "usd_per_million_output_tokens",
    "expected_start_s", "why",
}  # fmt: skip


@pytest.fixture
def plan(gpu: Gpu, kept: Kept) -> Ran:
    """Of the recipe, without a word on what is wanted."""
    kept.up = kept.up or gpu("plan", RECIPE, "--json")
    return kept.up


def test_a_plan_ranks_what_the_clouds_sell_and_says_that_the_prices_are_old(plan: Ran) -> None:
    assert plan.exit == 0, plan.stderr
    document = plan.json
    assert document["recipe"] == RECIPE
    assert document["candidates"][0].keys() >= CANDIDATE_KEYS
    assert [candidate["rank"] for candidate in document["candidates"]][:3] == [1, 2, 3]
    assert document["candidates"][0]["verdict"] == "fits"
    assert all(out["reason"] for out in document["rejected"])
    runpod = document["providers"]["runpod"]
    assert runpod.keys() >= {"ok", "offers", "seconds", "prices_as_of", "error"}
    assert runpod["snapshot"]
    assert "snapshot" in plan.stderr


def test_the_table_fits_a_terminal_and_says_why_the_first_is_first(gpu: Gpu) -> None:
    plan = gpu("plan", RECIPE)
    assert max(len(line) for line in plan.stdout.splitlines()) <= 80
    assert "the first: cheapest" in plan.stderr


def test_saved_offers_give_the_same_plan_byte_for_byte(gpu: Gpu, tmp_path: Path) -> None:
    saved = str(tmp_path / "offers.json")
    first = gpu("plan", RECIPE, "--save", saved, "--json")
    again = gpu("plan", RECIPE, "--offers", saved, "--json")
    assert again.exit == 0, again.stderr
    assert again.stdout == first.stdout
    both = gpu("plan", RECIPE, "--offers", saved, "--save", saved)
    assert (both.exit, "exclude each other" in both.stderr) == (2, True)


def test_spot_machines_are_for_those_who_ask(gpu: Gpu, plan: Ran) -> None:
    spot = gpu("plan", RECIPE, "--spot", "--json").json
    assert not any(candidate["interruptible"] for candidate in plan.json["candidates"])
    assert any(candidate["interruptible"] for candidate in spot["candidates"])


def test_what_is_optimized_decides_the_order(gpu: Gpu, plan: Ran) -> None:
    for by, field in (
        (plan, "session_cost_usd"),
        (gpu("plan", RECIPE, "--optimize", "cost-per-token", "--json"), "usd_per_million_output_tokens"),
        (gpu("plan", RECIPE, "--optimize", "start", "--json"), "expected_start_s"),
    ):
        fitting = [candidate[field] for candidate in by.json["candidates"] if candidate["verdict"] == "fits"]
        assert fitting[0] == min(fitting), field


def test_a_limit_that_nothing_meets_is_nothing_fits(gpu: Gpu) -> None:
    plan = gpu("plan", RECIPE, "--max-price", "0.05", "--json")
    assert plan.exit == 3
    assert plan.error["code"] == "nothing-fits"
    assert "over the limit" in plan.error["message"]


def test_one_provider_alone_can_be_asked_for(gpu: Gpu) -> None:
    plan = gpu("plan", RECIPE, "--provider", "vast", "--json").json
    assert {candidate["provider"] for candidate in plan["candidates"]} == {"vast"}
    parts, price_usd = plan["candidates"][0]["price_parts"], plan["candidates"][0]["price_usd_per_hour"]
    assert parts.pop("traffic_once") > 0
    assert sum(parts.values()) == pytest.approx(price_usd)
    unknown = gpu("plan", RECIPE, "--provider", "vest", "--json")
    assert (unknown.exit, unknown.error["code"]) == (2, "unknown-provider")


@pytest.mark.parametrize(
    "args",
    [
        ("--watch", "--json"),
        ("--optimize", "fun"),
        ("--use", "soon"),
        ("--offers", "none"),
    ],
)
def test_a_plan_that_makes_no_sense_is_told_so(gpu: Gpu, args: tuple[str, ...]) -> None:
    plan = gpu("plan", RECIPE, *args)
    assert plan.exit == 2
    assert "Traceback" not in plan.stderr


def test_a_model_without_a_recipe_is_planned_with_defaults_that_are_told(gpu: Gpu) -> None:
    plan = gpu("plan", "meta-llama/Llama-3.1-8B-Instruct", "--json")
    assert plan.exit == 0, plan.stderr
    assert plan.json["candidates"][0]["verdict"] == "fits"
    assert "by default: context" in plan.stderr


@pytest.mark.parametrize(("status", "exit_status", "code"), [(401, 2, "no-such-model"), (403, 4, "gated")])
def test_a_recipe_whose_model_cannot_be_known_is_told_why(
    gpu: Gpu, hub: Hub, status: int, exit_status: int, code: str
) -> None:
    hub.status = status
    (gpu.cwd / "mine.yaml").write_text("model: org/model\n")
    plan = gpu("plan", "mine.yaml", "--json")
    assert (plan.exit, plan.error["code"]) == (exit_status, code)
    (gpu.cwd / "mine.yaml").write_text("model: org/model\ngpu: {names: [H100]}\n")
    assert gpu("plan", "mine.yaml", "--json").exit == 0


def test_serverless_is_ranked_alone_and_says_up_to_which_use_it_is_the_cheaper(gpu: Gpu, tmp_path: Path) -> None:
    saved = str(tmp_path / "offers.json")
    plan = gpu("plan", RECIPE, "--serverless", "--provider", "runpod", "--save", saved, "--json")
    assert plan.exit == 0, plan.stderr
    candidates, rejected = plan.json["candidates"], plan.json["rejected"]
    assert {candidate["kind"] for candidate in candidates} == {"serverless"}
    assert any(out["reason"] == "is a pod, and serverless was asked for" for out in rejected)
    first = candidates[0]
    rivals = [
        out["price_usd_per_hour"]
        for out in rejected
        if (out["gpu"], out["gpu_count"]) == (first["gpu"], first["gpu_count"]) and "is a pod" in out["reason"]
    ]
    assert first["serverless_break_even"] == pytest.approx(min(rivals) / first["price_usd_per_hour"], abs=1e-4)
    assert f"busy less than {first['serverless_break_even']:.0%} of the time" in plan.stderr
    assert gpu("plan", RECIPE, "--serverless", "--offers", saved, "--json").stdout == plan.stdout


def test_a_recipe_without_a_kind_is_planned_with_all_kinds_and_one_with_a_kind_with_that(gpu: Gpu, plan: Ran) -> None:
    everything = plan.json["candidates"]
    assert {candidate["kind"] for candidate in everything} == {"pod", "vm", "serverless"}
    assert all(
        candidate["serverless_break_even"] is None for candidate in everything if candidate["kind"] != "serverless"
    )
    worker = next(candidate for candidate in everything if candidate["kind"] == "serverless")
    assert f"{worker['offer_id']} costs ${worker['price_usd_per_hour']:.2f}/h while a worker runs" in plan.stderr
    assert f"busy less than {worker['serverless_break_even']:.0%} of the time" in plan.stderr
    (gpu.cwd / "mine.yaml").write_text("model: Qwen/Qwen3-8B\nkind: vm\n")
    assert {candidate["kind"] for candidate in gpu("plan", "mine.yaml", "--json").json["candidates"]} == {"vm"}
    (gpu.cwd / "mine.yaml").write_text("model: Qwen/Qwen3-8B\nkind: vn\n")
    wrong = gpu("plan", "mine.yaml", "--json")
    assert (wrong.exit, wrong.error["code"]) == (2, "bad-recipe")
    assert "mine.yaml:2: kind: must be one of pod, vm" in wrong.error["message"]


@pytest.mark.parametrize(
    ("command", "raises", "exit_status"),
    [
        (("plan", RECIPE), "AuthError('the key is refused', hint='set PLUGGED_API_KEY')", 4),
        (("offers",), "NoCredentials('there is no key', hint='set PLUGGED_API_KEY')", 4),
        (("up", RECIPE), "NoCredentials('there is no key', hint='set PLUGGED_API_KEY')", 4),
        (("plan", RECIPE), "ProviderUnavailable('it does not answer')", 5),
        (("offers",), "ProviderUnavailable('it does not answer')", 5),
    ],
)
def test_a_cloud_that_is_named_and_cannot_be_asked_is_an_error_of_its_own(
    gpu: Gpu, plug_in: Callable[..., None], command: tuple[str, ...], raises: str, exit_status: int
) -> None:
    plug_in(offers=f"raise {raises}")
    failed = gpu(*command, "--provider", "plugged", "--json")
    assert failed.exit == exit_status
    assert failed.error["message"].startswith("plugged: ")
    if exit_status == 4:
        assert failed.error["hint"] == "set PLUGGED_API_KEY"


def test_of_clouds_that_are_not_named_those_that_fail_are_told_of_on_stderr(
    gpu: Gpu, plug_in: Callable[..., None]
) -> None:
    plug_in(offers="raise ProviderUnavailable('it does not answer')")
    for command in (("plan", RECIPE), ("offers",)):
        shown = gpu(*command)
        assert shown.exit == 0, shown.stderr
        assert "plugged: it does not answer" in shown.stderr
    assert gpu("plan", RECIPE, "--json").json["providers"]["plugged"]["error"] == "it does not answer"


def test_a_launch_takes_no_other_kind_than_the_one_that_was_asked_for(gpu: Gpu, tiny: str) -> None:
    for command in (("up", tiny), ("run", tiny)):
        refused = gpu(*command, "--serverless", *(("--", "true") if command[0] == "run" else ()))
        assert refused.exit == 3
        assert "is a process, and serverless was asked for" in refused.stderr
    assert gpu("up", tiny, "--dry-run").exit == 0
