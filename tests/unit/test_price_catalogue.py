"""What calling and buying cost: the prices that ship, and what the user says over them."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.compare.catalogue import Catalogue, Listing, Match
from gpu_cli.compare.price_files import load_catalogue, user_file
from gpu_cli.compare.price_table import Sourced
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths, shipped
from gpu_cli.recipe.files import load_recipe
from gpu_cli.weights.source import Scheme
from gpu_cli.yaml_file import BadFile
from gpu_providers.gpus import GPUS

NOBODY = Paths(Path("/nobody/config"), Path("/nobody/state"), Path("/nobody/cache"))
SHIPPED = load_catalogue(NOBODY)
LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
CHEAP = """\
as_of: 2026-11-20
source: https://cheap.example/pricing
apis:
  cheap:
    terms: {regions: [us], trains_on_inputs: false, retention_days: 0}
    models:
      llama:
        serves: meta-llama/Llama-3.3-70B-Instruct
        usd_per_million_tokens: {input: 1, output: 2}
        note: for now
        regional: {as_of: 2026-11-01, price_factors: {eu-west: 1.5, eu-north: 1.25}}
"""
ONLY_CHEAP = f"alone: [apis, models]\nmodels: {{}}\n{CHEAP}"


def with_user_file(folder: Path, text: str) -> Catalogue:
    paths = Paths(folder / "config", folder / "state", folder / "cache")
    paths.config.mkdir()
    user_file(paths).write_text(text)
    return load_catalogue(paths)


def with_prices(folder: Path, text: str) -> Catalogue:
    file = folder / "given.yaml"
    file.write_text(text)
    return load_catalogue(NOBODY, file)


def only(catalogue: Catalogue, provider: str, match: Match = Match.SAME) -> Listing:
    (found,) = [one for one in catalogue.listings(LLAMA) if one.provider == provider and one.match is match]
    return found


def all_sourced(catalogue: Catalogue) -> dict[str, Sourced]:
    prices = catalogue.prices
    found: dict[str, Sourced | None] = {**{f"card {name}": card for name, card in prices.cards.items()}}
    found |= dict(prices.ownership)
    for key, api in prices.apis.items():
        found[f"{key} terms"] = api.terms
        for name, model in api.models.items():
            found |= {
                f"{key} {name}": model,
                f"{key} {name} limits": model.limits,
                f"{key} {name} regions": model.regional,
            }
    return {name: one for name, one in found.items() if one}


def test_every_price_that_ships_has_a_source_and_the_day_of_it() -> None:
    today = datetime.now(UTC).date()
    for name, one in all_sourced(SHIPPED).items():
        assert "://" in one.source or one.source.startswith("github.com/"), name
        assert date(2002, 1, 1) < one.as_of <= max(today, date(2026, 11, 22)), name


def test_the_usual_apis_ship_and_one_without_prices_says_why() -> None:
    apis = SHIPPED.prices.apis
    assert {
        "together", "fireworks", "groq", "deepinfra", "cerebras", "openrouter", "mistral", "replicate", "anyscale",
        "openai", "anthropic",
    } <= set(apis)  # fmt: skip
    assert "2024-08-01" in SHIPPED.without(LLAMA)["anyscale"]


def test_every_built_in_recipe_has_something_to_be_compared_with() -> None:
    recipes = [load_recipe(file) for file in sorted(shipped("recipes").glob("*.yaml"))]
    models = {recipe.model.location for recipe in recipes if recipe.model.scheme is Scheme.HUGGING_FACE}
    alone = [name for name in models if all(one.match is Match.REFERENCE for one in SHIPPED.listings(name))]
    assert len(models) > 80
    assert alone == []


def test_what_is_called_comparable_is_sold_by_somebody_and_no_repository_is_of_two_models() -> None:
    models = SHIPPED.prices.models
    sold = {model.serves for api in SHIPPED.prices.apis.values() for model in api.models.values()}
    assert {other for model in models.values() for other in model.comparable} <= sold
    variants = [variant for model in models.values() for variant in model.variants]
    assert len(variants) == len(set(variants))
    assert not set(variants) & set(models)
    assert all(name not in model.comparable for name, model in models.items())


def test_cards_to_buy_are_cards_that_are_known_and_bigger_ones_draw_more() -> None:
    cards = SHIPPED.prices.cards
    assert {"H100", "H200", "B200", "A100-80GB", "L40S", "L4", "RTX-4090", "RTX-5090", "RTX-PRO-6000"} <= set(cards)
    assert set(cards) <= set(GPUS)
    assert cards["L4"].board_power_w < cards["L40S"].board_power_w < cards["H100"].board_power_w
    assert SHIPPED.prices.ownership.pue.value >= 1


def test_a_quantized_repository_is_the_model_that_it_was_made_of() -> None:
    quantized = SHIPPED.listings("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic")
    assert quantized == SHIPPED.listings(LLAMA)
    assert {one.provider for one in quantized if one.match is Match.SAME} == {"deepinfra", "openrouter"}


@given(st.sampled_from([*SHIPPED.prices.models, "nobody/Knows-This"]))
def test_the_same_model_comes_first_closed_ones_last_and_no_api_is_left_unsaid(model: str) -> None:
    listings = SHIPPED.listings(model)
    order = list(Match)
    assert [one.match for one in listings] == sorted((one.match for one in listings), key=order.index)
    assert all(one.why for one in listings if one.match is Match.COMPARABLE)
    assert {one.provider for one in listings} | set(SHIPPED.without(model)) == set(SHIPPED.prices.apis)
    assert all(SHIPPED.without(model).values())


def test_a_price_of_the_users_own_has_their_day_and_their_file_as_its_source(tmp_path: Path) -> None:
    text = (
        f"as_of: 2026-11-21\napis:\n  deepinfra:\n    models:\n      {LLAMA}-Turbo:\n        usd_per_million_tokens:\n"
    )
    mine = with_user_file(tmp_path, f"{text}          input: 0.05\n")
    before, after = only(SHIPPED, "deepinfra").model, only(mine, "deepinfra").model
    assert (after.as_of, after.source) == (date(2026, 11, 21), str(tmp_path / "config" / "prices.yaml"))
    assert after.usd_per_million_tokens.input == 0.05
    assert after.usd_per_million_tokens.output == before.usd_per_million_tokens.output
    assert only(mine, "openrouter") == only(SHIPPED, "openrouter")


def test_what_is_said_beside_a_price_leaves_its_day_alone(tmp_path: Path) -> None:
    limits = "limits: {as_of: 2026-11-21, tier: mine, requests_per_minute: 5}"
    mine = with_user_file(tmp_path, f"apis: {{deepinfra: {{models: {{{LLAMA}-Turbo: {{{limits}}}}}}}}}\n")
    after = only(mine, "deepinfra").model
    assert after.limits
    assert after.limits.requests_per_minute == 5
    assert after.model_copy(update={"limits": None}) == only(SHIPPED, "deepinfra").model


def test_a_key_without_a_value_removes_an_api_or_a_model(tmp_path: Path) -> None:
    mine = with_user_file(tmp_path, f"apis:\n  openrouter:\n  deepinfra: {{models: {{{LLAMA}-Turbo: ~}}}}\n")
    assert "openrouter" not in mine.prices.apis
    assert "deepinfra" in {one.provider for one in SHIPPED.listings("openai/gpt-oss-20b")}
    assert [one for one in mine.listings(LLAMA) if one.match is Match.SAME] == []


def test_an_api_of_the_users_own_is_listed_beside_the_others(tmp_path: Path) -> None:
    mine = with_user_file(tmp_path, CHEAP)
    assert {one.provider for one in mine.listings(LLAMA) if one.match is Match.SAME} == {
        "cheap", "deepinfra", "openrouter",
    }  # fmt: skip


def test_of_the_sections_that_stand_alone_nothing_else_counts(tmp_path: Path) -> None:
    given = with_prices(tmp_path, ONLY_CHEAP)
    assert [one.provider for one in given.listings(LLAMA)] == ["cheap"]
    assert given.without(LLAMA) == {}
    assert given.prices.cards == SHIPPED.prices.cards


def test_prices_that_are_given_come_over_the_users_own(tmp_path: Path) -> None:
    def card(usd: int) -> str:
        return f"as_of: 2026-11-21\ncards: {{H100: {{usd: {usd}}}}}\n"

    (tmp_path / "given.yaml").write_text(card(2))
    paths = Paths(tmp_path, tmp_path, tmp_path)
    user_file(paths).write_text(card(1))
    both = load_catalogue(paths, tmp_path / "given.yaml").prices.cards["H100"]
    assert (both.usd, both.source, both.note) == (2, str(tmp_path / "given.yaml"), "")
    assert both.board_power_w == SHIPPED.prices.cards["H100"].board_power_w
    assert load_catalogue(paths).prices.cards["H100"].usd == 1


def test_prices_that_are_given_and_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*absent.yaml") as caught:
        load_catalogue(NOBODY, tmp_path / "absent.yaml")
    assert (caught.value.exit_status, caught.value.code) == (Exit.BAD_INPUT, "bad-prices")
    assert "--prices" in caught.value.hint


WRONG = {
    "as_of: 2026-11-21\napi: {}\n": (2, "api", "did you mean apis"),
    "as_of: 2026-11-21\ncards:\n  H100:\n    usd: -1\n": (4, "cards.H100.usd", "above 0"),
    "as_of: 2026-11-21\ncards:\n  H100:\n    price: 3\n": (4, "cards.H100.price", "unknown key"),
    "as_of: 2026-11-21\ncards:\n  H100s: {usd: 3, board_power_w: 700}\n": (3, "cards.H100s", "gpu gpus"),
    "as_of: yesterday\ncards:\n  H100: {usd: 3}\n": (3, "cards.H100.as_of", "such as 2026-11-22"),
    "as_of: 2026-11-21\napis:\n  mine: {}\n": (3, "apis.mine", "no_prices"),
    "as_of: 2026-11-21\napis:\n  mine: {models: {a: {serves: A/B}}}\n": (
        3, "apis.mine.models.a.usd_per_million_tokens", "missing",
    ),
    "as_of: 2026-11-21\nownership:\n  pue: {value: much}\n": (3, "ownership.pue.value", "must be a number"),
    "as_of: 2026-11-21\nownership:\n  lifetime_months: {value: 0}\n": (3, "ownership.lifetime_months.value", "above 0"),
    "as_of: 2026-11-21\nownership:\n  host_share: {value: -0.1}\n": (3, "ownership.host_share.value", "at least 0"),
    "alone: [api]\n": (1, "alone", "any of apis, models, cards, ownership"),
    "alone: [cards]\n": (1, "cards", "missing"),
    "cards: [H100]\n": (1, "cards", "mapping"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG.items(), ids=[field for _, field, _ in WRONG.values()])
def test_what_is_wrong_is_named_by_line_and_key(text: str, expected: tuple[int, str, str], tmp_path: Path) -> None:
    with pytest.raises(BadFile) as caught:
        with_prices(tmp_path, text)
    line, field, words = expected
    problem = caught.value.problems[0]
    assert (caught.value.code, problem.line, problem.field) == ("bad-prices", line, field)
    assert words in problem.text


def test_a_price_without_a_day_is_refused_rather_than_dated_by_what_it_replaces(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"given.yaml:2: cards.H100.as_of: is missing") as caught:
        with_prices(tmp_path, "cards:\n  H100: {usd: 3}\n")
    assert "as_of: " in caught.value.hint


def test_a_request_can_be_kept_in_a_region_at_the_price_of_that_region(tmp_path: Path) -> None:
    listing = only(with_prices(tmp_path, ONLY_CHEAP), "cheap")
    assert listing.within([]) == listing
    assert listing.within(["us"]) == listing
    assert listing.within(["us-east"]) is None
    assert listing.within(["ap"]) is None
    kept = listing.within(["eu"])
    assert kept
    asked = kept.model.usd_per_million_tokens
    assert (asked.input, asked.output) == (1.25, 2.5)
    assert kept.model.as_of == date(2026, 11, 1)
    assert kept.model.note == "for now; 1.25 times its list price, to keep requests in eu-north"


def test_an_api_that_does_not_say_where_it_answers_promises_no_region() -> None:
    assert only(SHIPPED, "deepinfra").within(["us"]) is None
    assert only(SHIPPED, "deepinfra").within([]) is not None
