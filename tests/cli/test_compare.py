"""`gpu compare`, as it is typed."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from driver import Gpu

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
WORKED = re.findall(r"<!-- worked out by tests/cli/test_compare.py -->\n```sh\n(.*?)```", README, re.DOTALL)
SUM = re.compile(r"# ([a-z ]+): +(.*?) += ([0-9.]+)")
FOLDER = ROOT / "prices" / "examples"
EXAMPLES = ("--offers", str(FOLDER / "offers.json"), "--prices", str(FOLDER / "prices.yaml"))
SMALL = ("compare", "llama-3.1-8b", *EXAMPLES, "--requests", "5k")


def worked_examples() -> list[tuple[str, list[tuple[str, str, float]]]]:
    """Each command of the README with what it comes to: the way, the sum that was done by hand, its result."""
    found: list[tuple[str, list[tuple[str, str, float]]]] = []
    for line in "".join(WORKED).splitlines():
        if done := SUM.fullmatch(line):
            found[-1][1].append((done[1], done[2], float(done[3])))
        else:
            found.append((line, []))
    return found


def usd_by_way(document: Mapping[str, Any]) -> dict[str, float]:
    return {option["way"]: option["usd_per_month"] for option in document["options"]}


def test_there_are_worked_examples_with_each_outcome() -> None:
    assert [[way for way, _, _ in sums] for _, sums in worked_examples()] == [
        ["call", "always on"],
        ["always on", "call"],
        ["call", "always on"],
        ["while used", "call"],
    ]


@pytest.mark.parametrize(("typed", "sums"), worked_examples())
def test_the_worked_examples_of_the_readme_come_out(
    gpu: Gpu, typed: str, sums: Sequence[tuple[str, str, float]]
) -> None:
    _, *arguments = shlex.split(typed)
    gpu.cwd = FOLDER
    ran = gpu(*arguments, "--json")
    assert ran.exit == 0, ran.stderr
    usd = usd_by_way(ran.json)
    for way, by_hand, result in sums:
        assert eval(by_hand, {"ceil": math.ceil}) == pytest.approx(result, abs=0.006), by_hand
        assert usd[way] == pytest.approx(result, rel=1e-3)
    assert ran.json["answer"]["way"] == sums[0][0], "the cheapest stands first in the README"
    assert usd[sums[0][0]] == min(usd.values())


def test_the_break_even_of_the_readme_is_the_one_that_is_found(gpu: Gpu) -> None:
    found = re.findall(r"API is beaten from ([^=]*?) = ([0-9,]+) requests a day on, which are (\d+)M tokens", README)
    ((by_hand, requests, millions),) = [tuple(each.replace(",", "") for each in one) for one in found]
    assert eval(by_hand.replace("$", "").replace("x", "*")) == pytest.approx(float(requests), rel=1e-5)
    ran = gpu(*SMALL, "--input", "1000", "--output", "250", "--json")
    first, later = ran.json["break_even"][0]["serving_is_cheaper"]
    assert first["above_tokens_per_day"] == pytest.approx(1250 * float(requests), rel=1e-5)
    assert round(first["above_tokens_per_day"] / 1e6) == int(millions)
    assert later["up_to_tokens_per_day"] is None


def test_people_get_a_table_that_fits_and_what_there_is_to_say(gpu: Gpu, tmp_path: Path) -> None:
    ran = gpu(*SMALL, "--hours", "8", "--days", "22", "--buy", "--growth", "30%", "--plot", str(tmp_path / "plots"))
    assert ran.exit == 0, ran.stderr
    assert max(len(line) for line in ran.stdout.splitlines()) <= 100
    assert [line.split("  ")[0] for line in ran.stdout.splitlines()[:2]] == ["WAY", "call"]
    for said in (
        "5,000 requests a day of 1,024 tokens in and 256 out",
        "the busiest hour has 2 times the average",
        "serving beats example llama-8b above",
        "pays back",
        "the cheapest: call, example llama-8b, $",
        "MONTH",
        "estimated: a speed by the planner",
    ):
        assert said in ran.stderr, said
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {"llama-3.1-8b-cost.png", "llama-3.1-8b-cost.svg"}


def test_on_a_terminal_the_table_comes_first_then_the_chart_then_what_there_is_to_say(gpu: Gpu) -> None:
    shown = gpu.on_a_terminal(*SMALL, columns=80)
    said = ("PRICE / SPEED", "serve or call", "the cheapest: ", "serving beats", "asked: ")
    places = [shown.index(text) for text in said]
    assert places == sorted(places)


def test_scripts_get_every_figure_with_its_source_and_its_day(gpu: Gpu) -> None:
    looking_ahead = ("--growth", "10%/month", "--months", "3", "--card", "H100")
    document = gpu("compare", "llama-3.1-8b", *EXAMPLES, "--utilization", "0.5", *looking_ahead, "--json").json
    for option in document["options"]:
        assert option["price"]["source"] == "list price"
        assert option["price"]["as_of"]
        assert option["price"]["old"] in (True, False)
        assert (option["price_source"] is None) == (option["way"] in ("always on", "while used", "serverless"))
        assert (option["speed"] is None) == (option["way"] == "call")
        assert option["usd_per_million_tokens"] > 0
        assert option["utilization"] == (None if option["way"] == "call" else pytest.approx(0.5))
    assert {option["name"] for option in document["options"] if option["way"] == "buy"} == {"H100"}
    assert [month["month"] for month in document["months"]] == [1, 2, 3]
    assert {back["against"]["way"] for back in document["pay_back"]} == {"always on", "call"}
    assert document["ownership"]["pue"].keys() == {"value", "as_of", "source", "note"}
    assert document["files"] == []


def test_the_constraints_of_a_recipe_remove_what_breaks_them_with_the_reason(gpu: Gpu) -> None:
    text = (ROOT / "recipes/llama-3.1-8b.yaml").read_text()
    (gpu.cwd / "kept.yaml").write_text(f"{text}\nregions: [us]\nprivacy: dedicated\n")
    ran = gpu("compare", "kept.yaml", *EXAMPLES, "--requests", "5k", "--card", "H100", "--json")
    assert {option["way"] for option in ran.json["options"]} == {"buy"}
    reasons = {out["name"]: out["reason"] for out in ran.json["not_compared"]}
    assert reasons["example llama-8b"] == "its servers are shared, and the recipe says privacy: dedicated"
    assert "is in EU-RO-1, and the recipe keeps to us" in reasons.values()


def test_a_card_that_has_no_price_is_refused(gpu: Gpu) -> None:
    ran = gpu(*SMALL, "--card", "H999", "--json")
    assert (ran.exit, ran.error["code"]) == (2, "no-price")
