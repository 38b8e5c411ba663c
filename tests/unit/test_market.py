"""What can be rented: providers asked at once, snapshot prices for those that cannot be, and markets kept in files."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, FakeClock
from hypothesis import given
from hypothesis import strategies as st
from sellers import Seller, offer

from gpu_cli.config.settings import Limits, Settings, resolve_limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.market.market import Answer, Market, ask, ask_or_look_up
from gpu_cli.fleet.market.market_file import read_market, write_market
from gpu_cli.fleet.market.planning import launchable_plan as plan_to_launch
from gpu_cli.fleet.market.planning import nothing_fits
from gpu_cli.fleet.market.recipe_model import RecipeModel, configurations_of
from gpu_cli.fleet.store import Store
from gpu_cli.paths import Paths
from gpu_cli.planner.rank import Plan, Rejected
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Kind, Offer, Search
from gpu_providers.errors import AuthError, InvalidRequest, NoCredentials, ProviderUnavailable
from gpu_providers.gpus import GPUS
from gpu_providers.offer_document import offers_document

SAVED = json.dumps({**offers_document([replace(offer(price=2.5), gpu_count=7)]), "providers": {}})
"""A market in a file: one offer with numbers that are nowhere else in it."""

LIMITS = Limits(
    idle_s=600.0,
    ttl_s=7200.0,
    start_deadline_s=1800.0,
    boot_deadline_s=60.0,
    budget_usd=None,
    max_price_usd_per_hour=3.5,
)


def model(text: str = "") -> RecipeModel:
    """Of a model whose facts are built in: nothing is asked for them."""
    said = f"model: Qwen/Qwen3-8B\n{text}"
    return RecipeModel(parse_recipe(said, Path("/r.yaml"), shown="r.yaml"), Paths(*[Path("/nowhere")] * 3), {})


def launchable_plan(
    fleet: Fleet, recipe: Recipe, limits: Limits, *, provider: str | None, public: bool = False
) -> Plan:
    return plan_to_launch(fleet, Wanted(recipe, "one", limits, direct=public), provider=provider)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """With two clouds installed, whose behaviour a test puts into `_loaded`."""
    monkeypatch.setattr("gpu_providers.registry.available", lambda: {"local": None, "runpod": None})
    paths = Paths(tmp_path / "config", tmp_path / "state", tmp_path / "cache")
    store = Store(paths.state / "gpu.db").open()
    yield Fleet(paths, {}, store, FakeClock(), {"local": Seller(), "runpod": Seller(offer())})
    store.close()


def test_every_provider_is_asked_and_one_that_fails_does_not_hide_the_others(fleet: Fleet) -> None:
    fleet._loaded["local"] = Seller(fails=ZeroDivisionError("a bug"))
    market = ask(fleet, model(), LIMITS, only=None)
    assert market.offers == (offer(),)
    assert "a bug" in market.answers["local"].problem
    assert not market.answers["local"].ok


def test_a_provider_with_nothing_to_sell_says_why(fleet: Fleet) -> None:
    answer = ask(fleet, model(), LIMITS, only="local").answers["local"]
    assert (answer.offers, answer.problem, answer.ok) == ((), "sold out", True)


def test_options_that_a_provider_refuses_are_the_recipes_fault(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=InvalidRequest("cloud_type: unknown"))
    with pytest.raises(UserError) as caught:
        ask(fleet, model(), LIMITS, only=None)
    assert caught.value.exit_status is Exit.BAD_INPUT
    assert "providers: runpod: cloud_type" in caught.value.message


def test_clouds_that_are_not_there_or_lack_credentials_have_the_prices_of_the_snapshot(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=NoCredentials("no key"))
    market = ask_or_look_up(fleet, model(), LIMITS, only=None)
    assert market.snapshot_providers == ("lambda", "modal", "runpod", "vast")
    assert market.answers["runpod"].problem == "no key"
    assert all(answer.offers for answer in (market.answers["lambda"], market.answers["runpod"]))


def test_a_cloud_that_answers_is_taken_at_its_word_and_not_at_the_snapshots(fleet: Fleet) -> None:
    market = ask_or_look_up(fleet, model(), LIMITS, only="runpod")
    assert market.answers.keys() == {"runpod"}
    assert market.offers == (offer(),)
    assert not market.snapshot_providers


def test_a_cloud_that_is_down_is_not_given_old_prices(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=ProviderUnavailable("502"))
    assert ask_or_look_up(fleet, model(), LIMITS, only="runpod").offers == ()


def test_a_cloud_that_refuses_the_key_has_no_prices_at_all(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=AuthError("the key is refused", hint="set RUNPOD_API_KEY"))
    market = ask_or_look_up(fleet, model(), LIMITS, only="runpod")
    assert not market.snapshot_providers
    error = nothing_fits(Plan((), ()), market, model().recipe)
    assert (error.exit_status, error.hint) == (Exit.CREDENTIALS, "set RUNPOD_API_KEY")


def test_the_recipe_decides_what_each_cloud_is_asked_for(fleet: Fleet) -> None:
    local, runpod = fleet._loaded["local"], fleet._loaded["runpod"]
    assert isinstance(local, Seller)
    assert isinstance(runpod, Seller)
    runpod.name = "runpod"
    ask(fleet, model("providers: {runpod: {cloud: any}}\ncache: {runpod: weights}\nkind: pod\n"), LIMITS, only=None)
    (search,) = runpod.searches
    assert (search.options, search.kind, search.volume) == ({"cloud": "any"}, Kind.POD, "weights")
    assert search.min_cuda_version == "13.0"
    (other,) = local.searches
    assert (other.options, other.volume) == ({}, "")
    ask(fleet, model(), LIMITS, only="runpod")
    assert runpod.searches[-1].kind is None


def test_a_cloud_is_told_of_disk_for_the_weights_and_of_the_least_where_nothing_is_known(fleet: Fleet) -> None:
    runpod = fleet._loaded["runpod"]
    assert isinstance(runpod, Seller)

    def asked_gib(name: str, more: str = "") -> int:
        text = f"model: {name}\n{more}"
        recipe = parse_recipe(text, Path("/r.yaml"), shown="r.yaml")
        ask(fleet, RecipeModel(recipe, fleet.paths, {"HF_ENDPOINT": "http://127.0.0.1:9"}), LIMITS, only="runpod")
        return runpod.searches[-1].disk_gib

    unknown = asked_gib("/nowhere")
    assert asked_gib("meta-llama/Llama-3.1-70B-Instruct") >= unknown + 100
    assert asked_gib("meta-llama/Llama-3.1-70B-Instruct", "gpu: {cpu: true}\n") == unknown


def test_a_cloud_is_told_what_it_may_leave_out(fleet: Fleet) -> None:
    runpod = fleet._loaded["runpod"]
    assert isinstance(runpod, Seller)
    ask(fleet, model("gpu: {names: [A100, H100 SXM, Abacus]}\nspot: true\n"), LIMITS, only="runpod")
    search = runpod.searches[-1]
    assert search.cards == ("A100-40GB", "A100-40GB-PCIE", "A100-80GB", "A100-80GB-PCIE", "H100", "Abacus")
    assert (search.max_price_usd_per_hour, search.spot, search.ttl_s) == (3.5, True, 7200.0)
    assert search.region is None
    ask(fleet, model(), LIMITS, only="runpod", region="eu")
    assert (runpod.searches[-1].cards, runpod.searches[-1].spot) == ((), False)
    assert runpod.searches[-1].region == "eu"


@pytest.mark.parametrize(
    ("text", "least_gib"),
    [
        ("", 15.2),
        ("quantization: fp8_per_tensor\n", 8.8),
        ("gpu: {cpu: true}\n", 0),
        ("gpu: {min_memory_gib: 10}\n", 10),  # of cards that the planner does not know it takes the recipe's word
        ("gpu: {names: [Abacus]}\n", 0),
        ("gpu: {names: [H100]}\n", 15.2),
    ],
)
def test_a_cloud_may_leave_out_what_the_weights_alone_do_not_fit_on(text: str, least_gib: float) -> None:
    assert model(text).least_gpu_memory_gib == pytest.approx(least_gib, abs=0.1)


@given(gib=st.floats(1, 100), count=st.integers(1, 8), card=st.sampled_from(sorted(GPUS)))
def test_what_the_planner_would_take_is_never_left_out(gib: float, count: int, card: str) -> None:
    sized = model(f"context: 64\nconcurrency: 1\ngpu: {{count: {count}}}\n")
    assert sized.known
    configurations = configurations_of(sized.recipe, sized.known, {})
    memory_gib = min(gib, GPUS[card].memory_gib)
    taken = not (configurations.too_small(card, count) or configurations.best(card, count, memory_gib).why_not)
    assert not taken or memory_gib * count >= sized.least_gpu_memory_gib


def test_a_host_that_did_not_come_up_lately_is_passed_over_by_the_plan(fleet: Fleet) -> None:
    bad, good = replace(offer(), host="m1"), replace(offer(price=3.0), host="m2")
    fleet._loaded["runpod"] = Seller(bad, good)
    fleet.store.avoid_host("runpod", "m1", until=NOW + 10, reason="exited")
    fleet.store.avoid_host("vast", "m2", until=NOW + 10, reason="another cloud's")
    plan = launchable_plan(fleet, model().recipe, LIMITS, provider="runpod")
    assert [candidate.offer for candidate in plan.candidates] == [good]
    assert [(out.offer, out.reason) for out in plan.rejected] == [(bad, "its host did not come up lately: exited")]
    fleet.clock.sleep(10)
    plan = launchable_plan(fleet, model().recipe, LIMITS, provider="runpod")
    assert [candidate.offer for candidate in plan.candidates] == [bad, good]


@pytest.mark.parametrize(("version", "fits"), [("0.32.0", True), ("0.19.1", False)])
def test_a_machine_is_taken_only_where_the_engine_has_an_image_for_its_processors(
    fleet: Fleet, version: str, fits: bool
) -> None:
    arm = replace(offer(), architecture="arm64")
    fleet._loaded["runpod"] = Seller(arm, offer(price=3.0))
    recipe = model(f"engine: {{version: {version}}}\n").recipe
    plan = launchable_plan(fleet, recipe, LIMITS, provider="runpod")
    assert [candidate.offer for candidate in plan.candidates] == [arm, offer(price=3.0)][not fits :]
    reasons = [] if fits else ["is arm64, and the image of vLLM 0.19.1 is built for x86_64"]
    assert [out.reason for out in plan.rejected] == reasons


@pytest.mark.parametrize("public", [True, False])
def test_a_cloud_is_told_when_the_endpoint_has_to_be_public(fleet: Fleet, public: bool) -> None:
    runpod = fleet._loaded["runpod"]
    assert isinstance(runpod, Seller)
    launchable_plan(fleet, model().recipe, LIMITS, provider="runpod", public=public)
    assert [search.public for search in runpod.searches] == [public]


def test_what_can_be_taken_back_is_launched_only_where_the_recipe_says_so(fleet: Fleet) -> None:
    spot = replace(offer(), interruptible=True)
    fleet._loaded["runpod"] = Seller(spot)
    with pytest.raises(UserError, match="is spot"):
        launchable_plan(fleet, model().recipe, LIMITS, provider="runpod")
    plan = launchable_plan(fleet, model("spot: true\n").recipe, LIMITS, provider="runpod")
    assert [candidate.offer for candidate in plan.candidates] == [spot]


def test_a_model_is_looked_up_once_and_not_before_somebody_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[Recipe] = []
    monkeypatch.setattr("gpu_cli.fleet.market.recipe_model.what_is_known", lambda recipe, *_: looked_up.append(recipe))
    small, large = model("gpu: {cpu: true}\n"), model()
    assert small.weights_gib == large.weights_gib == 0
    assert looked_up == [large.recipe]
    assert (large.known, large.missing) == (None, None)
    assert looked_up == [large.recipe]


def test_serverless_is_shown_beside_the_pods_that_it_competes_with(fleet: Fleet) -> None:
    worker = offer(price=3.0, kind=Kind.SERVERLESS)
    fleet._loaded["runpod"] = Seller(offer(), worker)
    serverless = model("kind: serverless\n")
    assert ask_or_look_up(fleet, serverless, LIMITS, only="runpod").offers == (worker, offer())
    assert ask(fleet, serverless, LIMITS, only="runpod").offers == (worker,)
    assert ask_or_look_up(fleet, model(), LIMITS, only="runpod").offers == (offer(), worker)


class PodsWithAKey(Seller):
    """Needs no credentials to say that it has no serverless."""

    def offers(self, search: Search) -> list[Offer]:
        if search.kind is not Kind.SERVERLESS:
            raise NoCredentials("no key")
        return []


def test_serverless_is_shown_beside_the_snapshots_pods_of_a_cloud_without_credentials(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = PodsWithAKey()
    shown = ask_or_look_up(fleet, model("kind: serverless\n"), LIMITS, only="runpod").answers["runpod"]
    assert shown.from_snapshot
    assert Kind.POD in {offer.kind for offer in shown.offers}


def test_serverless_is_shown_beside_the_vms_of_other_clouds_and_not_beside_this_machine(fleet: Fleet) -> None:
    vm, process = offer("vm-cloud", kind=Kind.VM), offer("local", kind=Kind.PROCESS)
    fleet._loaded.update(runpod=Seller(vm), local=Seller(process))
    shown = ask_or_look_up(fleet, model("kind: serverless\n"), LIMITS, only=None).answers
    assert (shown["runpod"].offers, shown["local"].offers) == ((vm,), ())


def test_a_launch_never_sees_the_snapshot(fleet: Fleet) -> None:
    fleet._loaded["runpod"] = Seller(fails=AuthError("no key"))
    assert ask(fleet, model(), LIMITS, only=None).offers == ()


def test_a_market_comes_back_from_its_file_as_it_was(fleet: Fleet, tmp_path: Path) -> None:
    market = ask_or_look_up(fleet, model(), LIMITS, only=None)
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
    error = nothing_fits(Plan((), ()), Market({"runpod": refused}), model().recipe)
    assert (error.exit_status, error.hint) == (Exit.CREDENTIALS, "set RUNPOD_API_KEY")


@pytest.mark.parametrize(
    ("fails", "status", "code"),
    [
        (NoCredentials("no key", hint="set it"), Exit.CREDENTIALS, "no-credentials"),
        (AuthError("the key is refused", hint="set it"), Exit.CREDENTIALS, "no-credentials"),
        (ProviderUnavailable("it does not answer"), Exit.LAUNCH_FAILED, "no-answer"),
        (None, Exit.NOTHING_FITS, "nothing-fits"),
    ],
)
def test_a_launch_at_one_cloud_that_gives_no_offers_says_whose_matter_it_is(
    fleet: Fleet, tmp_path: Path, fails: Exception | None, status: Exit, code: str
) -> None:
    fleet._loaded["runpod"] = Seller(fails=fails)
    limits = resolve_limits(Settings.load(fleet.paths, tmp_path, {}), None, {})
    with pytest.raises(UserError) as caught:
        launchable_plan(fleet, model().recipe, limits, provider="runpod")
    assert (caught.value.exit_status, caught.value.code) == (status, code)
    assert str(fails or "sold out") in caught.value.message


@pytest.mark.parametrize("fails", [NoCredentials("no key"), AuthError("refused"), ProviderUnavailable("down")])
def test_a_cloud_that_cannot_be_asked_does_not_keep_a_model_from_this_machine(
    fleet: Fleet, tmp_path: Path, fails: Exception
) -> None:
    cpu = replace(offer("local", 0.0, Kind.PROCESS), gpu="cpu", gpu_count=0)
    fleet._loaded.update(local=Seller(cpu), runpod=Seller(fails=fails))
    limits = resolve_limits(Settings.load(fleet.paths, tmp_path, {}), None, {})
    plan = launchable_plan(fleet, model("gpu: {cpu: true}\n").recipe, limits, provider=None)
    assert [candidate.offer for candidate in plan.candidates] == [cpu]


def test_what_is_free_here_comes_before_a_rented_card_unless_the_cloud_is_named(fleet: Fleet, tmp_path: Path) -> None:
    cpu = replace(offer("local", 0.0, Kind.PROCESS), gpu="cpu", gpu_count=0)
    fleet._loaded["local"] = Seller(cpu)
    limits = resolve_limits(Settings.load(fleet.paths, tmp_path, {}), None, {})
    recipe = model("gpu: {cpu: true}\n").recipe
    first = launchable_plan(fleet, recipe, limits, provider=None).candidates[0].offer
    assert first == cpu
    assert launchable_plan(fleet, recipe, limits, provider="runpod").candidates[0].offer == offer()


def test_the_reasons_why_nothing_fits_are_told_once_each_the_most_frequent_first() -> None:
    rejected = [Rejected(offer(price=float(price)), "is too small") for price in range(1, 51)]
    rejected.append(Rejected(offer("vast"), "is too old"))
    error = nothing_fits(Plan((), tuple(rejected)), Market({"runpod": Answer((offer(),))}), model().recipe)
    assert error.exit_status is Exit.NOTHING_FITS
    assert error.message == "nothing fits: runpod-1.0 and 49 more: is too small; vast-2.0 is too old"


def test_of_a_cloud_whose_offers_were_looked_at_it_is_not_told_that_it_could_not_be_asked() -> None:
    rejected = (Rejected(offer(), "is too small"),)
    snapshot = Answer((offer(),), problem="there is no key", hint="set it", failed=True, from_snapshot=True)
    silent = Answer(problem="it is down", failed=True)
    error = nothing_fits(Plan((), rejected), Market({"runpod": snapshot, "vast": silent}), model().recipe)
    assert error.message == "nothing fits: runpod-2.0 is too small; vast: it is down"
    assert error.hint != "set it"


def test_where_nothing_fits_the_hint_names_the_regions_that_the_recipe_keeps_to() -> None:
    market = Market({"runpod": Answer((offer(),))})
    kept, free = (
        nothing_fits(Plan((), ()), market, model(text).recipe).hint for text in ("regions: [eu, us-ca]\n", "")
    )
    assert "`regions: [eu, us-ca]`" in kept
    assert "regions" not in free


def test_a_market_without_the_one_provider_that_is_wanted_says_so() -> None:
    with pytest.raises(UserError) as caught:
        Market({"runpod": Answer((offer(),))}).of("vest")
    assert (caught.value.code, caught.value.hint) == ("unknown-provider", "one of: runpod")
