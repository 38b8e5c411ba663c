"""`gpu check`: whether an endpoint behaves as clients expect, and as its recipe promises."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, complete_deployment
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, print_message, print_table, show

if TYPE_CHECKING:  # imported where used, so that `gpu --help` stays fast
    from gpu_cli.check.finding import Finding
    from gpu_cli.check.promises import Promises
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet
    from gpu_providers.base import Secret


def check(
    endpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|URL",
            help="A deployment's name, or the base_url of any endpoint, whose key is then OPENAI_API_KEY; "
            "default: the only deployment.",
            autocompletion=complete_deployment,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Which model, where it serves several.")] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="How often it is asked for a tool call.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Check that an endpoint behaves like the API that clients expect. Exit status 6 when what is promised fails."""
    if endpoint and "://" in endpoint:
        result = _check_url(endpoint, model, repeat)
    else:
        result = _check_deployment(endpoint, model, repeat)
    show(result, as_json=as_json)


def _check_url(url: str, model: str | None, repeat: int) -> Result:
    from gpu_cli.check.promises import Promises
    from gpu_providers.base import Secret

    key = Secret(os.environ.get("OPENAI_API_KEY", ""))
    if not key.reveal():
        hint = "export the key of the endpoint as OPENAI_API_KEY; any text will do for one that wants none"
        raise UserError(Exit.CREDENTIALS, "no-key", "OPENAI_API_KEY is not set", hint=hint)
    return _checked(_private(_base_url(url)), key, model, Promises(), repeat, name=None)


def _base_url(url: str) -> str:
    """As OpenAI clients take it. Raises UserError BAD_INPUT for what is no URL of a server."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        hint = "write it as clients take it: https://HOST/v1"
        raise UserError(Exit.BAD_INPUT, "usage", "this is no base_url of an endpoint", hint=hint)
    return url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/v1"


def _private(base_url: str) -> str:
    """Raises UserError NEVER_HEALTHY, with nothing sent, where others could read the key on the way."""
    from gpu_cli.check.closed import is_private

    if is_private(base_url):
        return base_url
    hint = "use its https:// URL, or make a tunnel (ssh -L 8000:HOST:PORT) and check http://127.0.0.1:8000/v1"
    message = "plain HTTP to another machine: the key could be read on the way, so nothing was sent"
    raise UserError(Exit.NEVER_HEALTHY, "plain-http", message, hint=hint)


def _check_deployment(name: str | None, model: str | None, repeat: int) -> Result:
    from gpu_cli.commands.here import need_endpoint, open_here, the_deployment, the_key

    with open_here() as fleet:
        deployment = need_endpoint(fleet, the_deployment(fleet, name))
        key = the_key(fleet, deployment)
        promises = _promises(deployment)
        wake_up(fleet, deployment, key)
    return _checked(deployment.base_url, key, model or deployment.model, promises, repeat, name=deployment.name)


def wake_up(fleet: "Fleet", deployment: "Deployment", key: "Secret") -> None:
    """See to it that a deployment that scales to zero has a worker. Raises UserError NEVER_HEALTHY as `wake` does."""
    from gpu_providers.base import Kind

    if deployment.kind is Kind.SERVERLESS:
        from gpu_cli.fleet.reach.wake import wake

        wake(deployment.endpoint, key, fleet.clock, print_message)


def _promises(deployment: "Deployment") -> "Promises":
    from gpu_cli.check.promises import Promises, promises_of
    from gpu_cli.commands.recipe_of import recipe_of
    from gpu_providers.base import Link

    # Plain HTTP to another machine is had by saying --direct, and in no other way.
    plain_http = deployment.link is Link.DIRECT
    if recipe := recipe_of(deployment):
        return promises_of(recipe, plain_http=plain_http)
    print_message(f"recipe {deployment.recipe} is not here as it was launched: checked is what the API itself promises")
    return Promises(plain_http=plain_http)


def _checked(
    base_url: str, key: "Secret", model: str | None, promises: "Promises", repeat: int, *, name: str | None
) -> Result:
    from gpu_cli.check.run import run_checks
    from gpu_cli.check.target import reached
    from gpu_cli.commands.check_report import findings_document, findings_table, summary
    from gpu_cli.ui.stages import progress_on_stderr

    findings: list[Finding] = []
    try:
        with progress_on_stderr() as progress, reached(base_url, key, model, promises, repeat=repeat) as target:
            progress.stage("check")
            findings += run_checks(target, told=progress.detail)
    except KeyboardInterrupt:
        print_table(findings_table(findings))
        raise
    document = {
        "name": name,
        "base_url": base_url,
        "model": target.model,
        "recipe": promises.recipe or None,
        **findings_document(findings),
    }
    status = Exit.DONE if document["ok"] else Exit.NEVER_HEALTHY
    return Result(document, table=findings_table(findings), prose=(summary(findings),), exit_status=status)
