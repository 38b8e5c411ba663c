"""This run of `gpu`: its fleet, and the deployment that the user means."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.ui.output import print_message

if TYPE_CHECKING:  # these take time to import, and `gpu --help` needs none of them
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet
    from gpu_cli.fleet.launch.launch import Wanted
    from gpu_cli.models.asked import Asked
    from gpu_providers.base import Secret

USUAL_USE = "1h"
"""How long a deployment is used, where nobody says that."""


@contextmanager
def open_here() -> Iterator["Fleet"]:
    """The fleet of this user and environment."""
    from gpu_cli.fleet.clock import Clock
    from gpu_cli.fleet.recover import open_fleet

    fleet = open_fleet(Paths.from_environ(os.environ), os.environ, Clock(), print_message)
    with closing(fleet.store):
        yield fleet


def the_wanted(
    recipe_name: str | None,
    name: str | None,
    flags: dict[str, str | None],
    *,
    serverless: bool = False,
    spot: bool = False,
    direct: bool = False,
    wait: bool = True,
    tied: bool = False,
    unique: str = "",
    yes: bool = False,
    optimize: Optimize = Optimize.PRICE,
    use: str = USUAL_USE,
    region: str | None = None,
    attempts: int | None = None,
    retry_until_up: bool = False,
    race: int = 1,
) -> tuple["Wanted", str | None]:
    """What is to be launched, and the one provider that may do it (None: any).

    Without `name` it is called like the recipe, with `unique` behind it. `flags` has the text of each flag by its
    setting's name, `provider` among them. `serverless` and `spot` override the recipe. With `yes` it may run where
    nothing but this machine would end it. Raises UserError BAD_INPUT.
    """
    from gpu_cli.config.keys import PROVIDER, TTL
    from gpu_cli.config.settings import Settings, resolve_limits
    from gpu_cli.fleet.launch.launch import Wanted
    from gpu_providers.base import Kind

    asked = the_recipe(recipe_name)
    said = {**({"kind": Kind.SERVERLESS} if serverless else {}), **({"spot": True} if spot else {})}
    recipe = asked.recipe.model_copy(update=said)
    settings = Settings.load(Paths.from_environ(os.environ), Path.cwd(), os.environ)
    limits = resolve_limits(settings, recipe, flags)
    provider = settings.resolve(PROVIDER, flag=flags.get("provider")).value
    called = name or "-".join(filter(None, (recipe.name, unique)))
    wanted = Wanted(
        recipe,
        _checked(called),
        limits,
        asked.defaults,
        wait=wait,
        tied=tied,
        direct=direct,
        ttl_said=settings.resolve(TTL, flag=flags.get(TTL.name), recipe=recipe).source != "default",
        yes=yes,
        optimize=optimize,
        use_s=the_duration("--use", use),
        region=region,
        attempts=attempts,
        retry_until_up=retry_until_up,
        race=race,
    )
    return wanted, provider


def in_budget_group(fleet: "Fleet", wanted: "Wanted", group: str | None) -> "Wanted":
    """The same as one of this budget group, `NAME` or `NAME=USD`. Raises UserError BAD_INPUT."""
    from gpu_cli.fleet.money.budget_groups import join

    return replace(wanted, budget_group=join(fleet.store, group)) if group else wanted


def the_recipe(text: str | None) -> "Asked":
    """The recipe or model that is meant. Raises UserError."""
    from gpu_cli.models.asked import asked_for
    from gpu_providers import registry

    paths = Paths.from_environ(os.environ)
    return asked_for(text, paths, Path.cwd(), os.environ, known_providers=list(registry.available()))


def the_duration(flag: str, text: str) -> float:
    """Seconds, as given with this flag. Raises UserError BAD_INPUT."""
    from gpu_cli.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, "usage", f"{flag}: {error}") from None


def _checked(name: str) -> str:
    from gpu_cli.recipe.schema import check_name

    try:
        return check_name(name)
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, "bad-name", f"--name: {error}") from None


def the_deployment(fleet: "Fleet", name: str | None) -> "Deployment":
    """The living deployment of this name, or the only one. Raises UserError NO_SUCH_DEPLOYMENT or BAD_INPUT."""
    if name is not None:
        if found := fleet.store.find_live(name):
            return found
        raise no_such(fleet, name)
    live = fleet.store.live()
    if not live:
        raise UserError(Exit.NO_SUCH_DEPLOYMENT, "none-running", "nothing is running", hint="start one: gpu up RECIPE")
    if len(live) > 1:
        names = ", ".join(deployment.name for deployment in live)
        raise UserError(Exit.BAD_INPUT, "which-one", f"several are running: {names}", hint="name the one that you mean")
    return live[0]


def no_such(fleet: "Fleet", name: str) -> UserError:
    """For a name that nothing living has: the living names, and how the last one of this name ended."""
    names = ", ".join(deployment.name for deployment in fleet.store.live())
    last = fleet.store.last_named(name)
    ended = f" (the last one ended: {last.reason or last.state})" if last else ""
    hint = f"running: {names}" if names else "nothing is running; start one: gpu up RECIPE"
    return UserError(
        Exit.NO_SUCH_DEPLOYMENT, "no-such-deployment", f"no deployment is called {name!r}{ended}", hint=hint
    )


def the_key(fleet: "Fleet", deployment: "Deployment") -> "Secret":
    """Its API key. Raises UserError when this machine does not have it."""
    from gpu_providers.errors import ProviderError

    try:
        key = fleet.key_of(deployment)
    except ProviderError as error:
        raise UserError(Exit.CREDENTIALS, "no-key", error.message, hint=error.hint) from error
    if key is None:
        message = f"the API key of {deployment.name} is not on this machine"
        raise UserError(Exit.CREDENTIALS, "no-key", message, hint="it is on the machine from which it was launched")
    return key


def need_endpoint(fleet: "Fleet", deployment: "Deployment") -> "Deployment":
    """The deployment with an endpoint that works: where the guard has to forward to it, it does.

    Raises UserError NEVER_HEALTHY while it starts or ends.
    """
    from gpu_cli.fleet.deployment import State
    from gpu_providers.base import Link

    if deployment.state is not State.READY:
        message = f"{deployment.name} is not ready: it is {deployment.state}"
        raise UserError(Exit.NEVER_HEALTHY, "not-ready", message, hint=f"wait for it: gpu wait {deployment.name}")
    if deployment.link is Link.DIRECT:
        return deployment
    from gpu_cli.fleet.reach.link import await_forwarder  # slow to import, and for most there is nothing to wait for

    return await_forwarder(fleet, deployment)


def openai_variables(fleet: "Fleet", deployment: "Deployment") -> dict[str, str]:
    """What an OpenAI client reads from its environment."""
    return {
        "OPENAI_BASE_URL": deployment.base_url,
        "OPENAI_API_KEY": the_key(fleet, deployment).reveal(),
        "OPENAI_MODEL": deployment.model,
    }
