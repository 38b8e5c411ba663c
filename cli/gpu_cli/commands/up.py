"""`gpu up`: an endpoint for a recipe."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.here import USUAL_USE
from gpu_cli.commands.options import (
    AsJson,
    Attempts,
    BootDeadline,
    Budget,
    BudgetGroup,
    Checked,
    Direct,
    Idle,
    MaxPrice,
    OptimizeFor,
    Provider,
    Race,
    Region,
    RetryUntilUp,
    Serverless,
    Spot,
    StartDeadline,
    Ttl,
    Use,
    Yes,
    complete_recipe,
    flags_by_setting,
)
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.ui.output import Result, print_message, show

if TYPE_CHECKING:  # imported where used, so that `gpu --help` stays fast
    from gpu_cli.check.finding import Finding
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet
    from gpu_cli.fleet.launch.launch import Wanted
    from gpu_cli.fleet.launch.policy import Attempt
    from gpu_providers.base import Offer


def up(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name or file; default: ./gpu.yaml.", autocompletion=complete_recipe),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the deployment; default: the recipe's.")] = None,
    provider: Provider = None,
    serverless: Serverless = False,
    spot: Spot = False,
    idle: Idle = None,
    ttl: Ttl = None,
    budget: Budget = None,
    max_price: MaxPrice = None,
    start_deadline: StartDeadline = None,
    boot_deadline: BootDeadline = None,
    optimize: OptimizeFor = Optimize.PRICE,
    use: Use = USUAL_USE,
    region: Region = None,
    attempts: Attempts = None,
    retry_until_up: RetryUntilUp = False,
    race: Race = 1,
    budget_group: BudgetGroup = None,
    direct: Direct = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    check: Checked = False,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Come back only when it is healthy.")] = True,
    show_key: Annotated[bool, typer.Option("--show-key", help="Put the API key into the JSON document.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring up a recipe and print its OpenAI base_url; one that runs already is used as it is."""
    from gpu_cli.commands.here import in_budget_group, open_here, the_wanted

    if race > 1 and not wait:
        raise _needs_to_wait("--race sees who is healthy first")
    if check and not wait:
        raise _needs_to_wait("--check asks what is healthy")
    flags = flags_by_setting(provider, idle, ttl, budget, max_price, start_deadline, boot_deadline)
    wanted, only = the_wanted(
        recipe,
        name,
        flags,
        serverless=serverless,
        spot=spot,
        direct=direct,
        wait=wait,
        tied=check,
        yes=yes,
        optimize=optimize,
        use=use,
        region=region,
        attempts=attempts,
        retry_until_up=retry_until_up,
        race=race,
    )
    with open_here() as fleet:
        if dry_run:
            result = _dry_run(fleet, wanted, only, budget_group)
        else:
            result = _up(fleet, in_budget_group(fleet, wanted, budget_group), only, check=check, show_key=show_key)
    show(result, as_json=as_json)


def _needs_to_wait(why: str) -> UserError:
    message = f"{why}: it does not go with --no-wait"
    return UserError(Exit.BAD_INPUT, "usage", message, hint="leave one of them out")


def _up(fleet: "Fleet", wanted: "Wanted", provider: str | None, *, check: bool, show_key: bool) -> Result:
    from gpu_cli.commands.documents import deployment_with_stops
    from gpu_cli.commands.tried_report import told_in_the_end
    from gpu_cli.commands.up_check import check_document, check_start, checks_told_in_the_end
    from gpu_cli.fleet.interrupt import interruptible
    from gpu_cli.fleet.launch.attempts import tried_document
    from gpu_cli.fleet.launch.confirm import check_ended_by_something
    from gpu_cli.fleet.launch.up import bring_up
    from gpu_cli.locks import released
    from gpu_cli.ui.stages import progress_on_stderr

    for text in wanted.defaults:
        print_message(f"by default: {text}")
    tried: list[Attempt] = []
    findings: list[Finding] = []
    with (
        told_in_the_end(tried),
        checks_told_in_the_end(findings),
        interruptible(),
        released(fleet.launch_lock(wanted.name)) as lock,
        progress_on_stderr() as progress,
    ):
        deployment = bring_up(fleet, wanted, lock, provider=provider, progress=progress, tried=tried)
        if check:
            ours = deployment.tied and lock.is_acquired
            deployment = check_start(fleet, wanted, deployment, ours=ours, progress=progress, findings=findings)
    check_ended_by_something(fleet, deployment)
    document = {
        **deployment_with_stops(fleet, deployment),
        "tried": tried_document(tried),
        **check_document(findings),
        **_key(fleet, deployment, show_key=show_key),
    }
    return Result(document, stdout=deployment.base_url, messages=_story(fleet, deployment))


def _key(fleet: "Fleet", deployment: "Deployment", *, show_key: bool) -> Mapping[str, object]:
    from gpu_cli.commands.here import the_key

    return {"api_key": the_key(fleet, deployment).reveal()} if show_key else {}


def _story(fleet: "Fleet", deployment: "Deployment") -> tuple[str, ...]:
    from gpu_cli.commands.stories import gap_in_words, price_in_words, stops_in_words

    where = deployment.gpu if deployment.gpu_count < 2 else f"{deployment.gpu_count} x {deployment.gpu}"
    name = deployment.name
    return (
        f"{name} is {deployment.state} on {deployment.provider} ({where}, {price_in_words(deployment)})",
        stops_in_words(fleet, deployment),
        *filter(None, [gap_in_words(fleet, deployment)]),
        f'use it: eval "$(gpu env {name})"; ask it: gpu chat {name}; end it: gpu down {name}',
    )


def _caps_usd(fleet: "Fleet", wanted: "Wanted", offer: "Offer", budget_group: str | None) -> Sequence[float]:
    """What it may cost at most there. Raises UserError as a launch would where that pays for no start."""
    from gpu_cli.fleet.launch.failover import SHORTEST_BUDGET_S, check_budget
    from gpu_cli.fleet.money.budget_groups import room_if_joined

    caps_usd = [check_budget(wanted.limits, offer, ())]
    if budget_group:
        now, price = fleet.clock.now(), offer.price_usd_per_hour
        caps_usd.append(room_if_joined(fleet.store, budget_group, price, now=now, shortest_s=SHORTEST_BUDGET_S))
    return [max(0.0, usd) for usd in caps_usd if usd is not None]


def _dry_run(fleet: "Fleet", wanted: "Wanted", provider: str | None, budget_group: str | None) -> Result:
    from gpu_cli.commands.plan_report import plan_document
    from gpu_cli.fleet.market.planning import launchable_plan
    from gpu_cli.fleet.node.supervised import engine_args_on
    from gpu_cli.units import format_duration, format_usd

    plan = launchable_plan(fleet, wanted, provider=provider)
    first, limits, recipe = plan.candidates[0], wanted.limits, wanted.recipe
    price_usd_per_hour = first.offer.price_usd_per_hour
    args = engine_args_on(first, recipe, model=str(recipe.model), host="HOST", port=8000)
    worst_usd = min([price_usd_per_hour * limits.ttl_s / 3600, *_caps_usd(fleet, wanted, first.offer, budget_group)])
    document = {
        "dry_run": True,
        "name": wanted.name,
        "recipe": recipe.name,
        **plan_document(plan),
        "engine_args": list(args),
        "idle_s": limits.idle_s,
        "ttl_s": limits.ttl_s,
        "budget_usd": limits.budget_usd,
        "worst_case_usd": round(worst_usd, 6),
    }
    messages = (
        *(f"by default: {text}" for text in wanted.defaults),
        f"would launch {wanted.name} on {first.offer.offer_id} at {format_usd(price_usd_per_hour)}/h",
        f"would end after {format_duration(limits.idle_s)} idle, or {format_duration(limits.ttl_s)} at the latest; "
        f"worst cost {format_usd(worst_usd)}",
        f"engine: vllm {' '.join(args)}",
        *(f"not {out.offer.offer_id}: {out.reason}" for out in plan.rejected),
    )
    return Result(document, messages=messages)
