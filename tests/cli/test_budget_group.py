"""`--budget-group`: one cap on all that name it."""

from collections.abc import Callable

import pytest
from conftest import WriteRecipe
from driver import Gpu, wait_until

PRICED = {"local": {"price_usd_per_hour": 3.6}}


def test_a_pipeline_shares_a_cap_that_ends_all_of_it_and_lets_nothing_new_in(
    gpu: Gpu, recipe: WriteRecipe, database: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = str(recipe("one", providers=PRICED)), str(recipe("two", providers=PRICED))
    dry = gpu("up", one, "--budget-group", "ci=2", "--dry-run", "--json").json
    assert (dry["worst_case_usd"], dry["dry_run"]) == (2.0, True)
    assert gpu("up", one, "--budget-group", "ci", "--json").error["code"] == "no-budget-group"
    first = gpu("up", one, "--budget-group", "ci=2", "--json").json
    assert [(stop["by"], stop["armed"]) for stop in first["stops"] if stop["kind"] == "budget-group"] == [
        ("guard", True)
    ]
    monkeypatch.setenv("GPU_BUDGET_GROUP", "ci")
    told = gpu("up", two).stderr
    assert "worst cost $1.0" in told, "it shares what is left with the first"
    database("UPDATE deployments SET metered_at = metered_at - 1001")
    wait_until(lambda: {one["state"] for one in gpu.ls()} == {"gone"})
    assert {one["reason"] for one in gpu.ls()} == {"budget"}
    refused = gpu("up", two, "--json")
    assert (refused.exit, refused.error["code"]) == (7, "budget-group")
    assert gpu("up", two, "--dry-run", "--json").error["code"] == "budget-group"
    (row,) = gpu("cost", "--by", "group", "--json").json["rows"]
    assert (row["key"], row["deployments"], row["budget_usd"]) == ("ci", 2, 2.0)
    assert 2.0 <= row["usd"] < 2.1
    assert gpu.engines() == []
