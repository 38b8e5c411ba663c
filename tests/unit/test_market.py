"""What can be rented: providers asked at once, snapshot prices for those that cannot be, and markets kept in files."""

# ruff: noqa: ARG002 - the contract gives a provider more than this one needs

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fleets import Cloud, FakeClock

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market import Answer, Market, ask, ask_or_look_up
from gpu_cli.fleet.market_file import read_market, write_market
from gpu_cli.fleet.planning import nothing_fits
from gpu_cli.fleet.store import Store
from gpu_cli.paths import Paths
from gpu_cli.planner.rank import Plan, Rejected
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Kind, Offer, Search
from gpu_providers.errors import AuthError, InvalidRequest, ProviderUnavailable
from gpu_providers.offer_document import offers_document


class Seller(Cloud):
    """Sells what it is given, or fails as it is told."""

    def __init__(self, *offers: Offer, fails: Exception | None = None) -> None:
        super().__init__()
        self.sold, self.fails = offers, fails

    def offers(self, search: Search) -> list[Offer]:
        if self.fails:
            raise self.fails
        return list(self.sold)

    def why_no_offers(self, search: Search) -> str:
        return "sold out"


def offer(provider: str = "runpod", price: float = 2.0) -> Offer:
    day = datetime(2026, 11, 1, tzinfo=UTC)
    return Offer(provider, Kind.POD, f"{provider}-{price}", "H100", 1, 79.2, "eu", price, {"gpu": price}, day)


SAVED = json.dumps({**offers_document([replace(offer(price=2.5), gpu_count=7)]), "providers": {}})
"""A market in a file: one offer with numbers that are nowhere else in it."""


def recipe() -> Recipe:
    return parse_recipe("model: org/model\n", Path("/r.yaml"), shown="r.yaml")


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """With two clouds installed, whose behaviour a test puts into `_loaded`."""
    monkeypatch.setattr("gpu_providers.registry.available", lambda: {"local": None, "runpod": None})
    paths = Paths(tmp_path / "config", tmp_path / "state", tmp_path / "cache")
    return Fleet(paths, {}, Store(paths.state / "gpu.db"), FakeClock(), {"local": Seller(), "runpod": Seller(offer())})


def test_every_provider_is_asked_and_one_that_fails_does_not_hide_the_others(fleet: Fleet) -> None:
    fleet._loaded["local"] = Seller(fails=ZeroDivisionError("a bug"))
    market = ask(fleet, recipe(), only=None)
    assert market.offers == (offer(),)
    assert "a bug" in market.answers["local"].problem
    assert not market.answers["local"].ok


def test_a_provider_with_nothing_to_sell_says_why(fleet: Fleet) -> None:
    answer = ask(fleet, recipe(), only="local").answers["local"]
    assert (answer.offers, answer.problem, answer.ok) == ((), "sold out", True)


def test_options_that_a_provider_refuses_are_the_recipes_fault(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=InvalidRequest("cloud_type: unknown"))
    with pytest.raises(UserError) as caught:
        ask(fleet, recipe(), only=None)
    assert caught.value.exit_status is Exit.BAD_INPUT
    assert "providers: runpod: cloud_type" in caught.value.message


def test_clouds_that_are_not_there_or_lack_credentials_have_the_prices_of_the_snapshot(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=AuthError("no key"))
    market = ask_or_look_up(fleet, recipe(), only=None)
    assert market.snapshot_providers == ("lambda", "modal", "runpod", "vast")
    assert market.answers["runpod"].problem == "no key"
    assert all(answer.offers for answer in (market.answers["lambda"], market.answers["runpod"]))


def test_a_cloud_that_answers_is_taken_at_its_word_and_not_at_the_snapshots(fleet: Fleet) -> None:
    market = ask_or_look_up(fleet, recipe(), only="runpod")
    assert market.answers.keys() == {"runpod"}
    assert market.offers == (offer(),)
    assert not market.snapshot_providers


def test_a_cloud_that_is_down_is_not_given_old_prices(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=ProviderUnavailable("502"))
    assert ask_or_look_up(fleet, recipe(), only="runpod").offers == ()


def test_a_launch_never_sees_the_snapshot(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=AuthError("no key"))
    assert ask(fleet, recipe(), only=None).offers == ()


def test_a_market_comes_back_from_its_file_as_it_was(fleet: Fleet, tmp_path: Path) -> None:
    market = ask_or_look_up(fleet, recipe(), only=None)
    write_market(tmp_path / "offers.json", market)
    assert read_market(tmp_path / "offers.json") == market


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "Expecting value"),
        ("[]", "`offers`"),
        ('{"version": 9, "offers": []}', "version"),
        ('{"version": 1, "offers": [{}]}', "offers[0].provider: is missing"),
        ('{"version": 1, "offers": [], "providers": 3}', "providers: must say of each provider"),
        ('{"version": 1, "offers": [], "providers": {"a": 3}}', "providers: must say of each provider"),
        (SAVED.replace('hour": 2.5', f'hour": 1{"0" * 400}'), "offers[0].price_usd_per_hour: must be a number"),
        (SAVED.replace('count": 7', f'count": 1{"0" * 400}'), "offers[0].gpu_count: must be a whole number"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_holds_no_market_is_named_with_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "offers.json").write_text(text)
    with pytest.raises(UserError) as caught:
        read_market(tmp_path / "offers.json")
    assert caught.value.exit_status is Exit.BAD_INPUT
    assert named in caught.value.message


def test_without_any_credentials_nothing_fits_is_a_matter_of_credentials() -> None:
    refused = Answer(problem="no key", hint="set RUNPOD_API_KEY", failed=True, no_credentials=True)
    error = nothing_fits(Plan((), ()), Market({"runpod": refused}))
    assert (error.exit_status, error.hint) == (Exit.CREDENTIALS, "set RUNPOD_API_KEY")


def test_the_reasons_why_nothing_fits_are_told_once_each_the_most_frequent_first() -> None:
    rejected = [Rejected(offer(price=float(price)), "is too small") for price in range(1, 51)]
    rejected.append(Rejected(offer("vast"), "is too old"))
    error = nothing_fits(Plan((), tuple(rejected)), Market({"runpod": Answer((offer(),))}))
    assert error.exit_status is Exit.NOTHING_FITS
    assert error.message == "nothing fits: runpod-1.0 and 49 more: is too small; vast-2.0 is too old"


def test_of_a_cloud_whose_offers_were_looked_at_it_is_not_told_that_it_could_not_be_asked() -> None:
    rejected = (Rejected(offer(), "is too small"),)
    snapshot = Answer((offer(),), problem="it cannot be asked yet", failed=True, from_snapshot=True)
    silent = Answer(problem="it is down", failed=True)
    error = nothing_fits(Plan((), rejected), Market({"runpod": snapshot, "vast": silent}))
    assert error.message == "nothing fits: runpod-2.0 is too small; vast: it is down"


def test_a_market_without_the_one_provider_that_is_wanted_says_so() -> None:
    with pytest.raises(UserError) as caught:
        Market({"runpod": Answer((offer(),))}).of("vest")
    assert (caught.value.code, caught.value.hint) == ("unknown-provider", "one of: runpod")
