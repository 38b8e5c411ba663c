"""`gpu chat`: talk to a deployment."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import DeploymentName
from gpu_cli.ui.output import print_line, print_message

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_providers.base import Secret


def chat(
    name: DeploymentName = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Ask this one thing.")] = None,
) -> None:
    """Talk to a deployment. Without a terminal, stdin is one question; the answer goes to stdout.

    A single question gets the same answer each time (temperature 0).
    """
    from gpu_cli.commands.here import need_endpoint, open_here, the_deployment, the_key

    with open_here() as fleet:
        deployment = need_endpoint(fleet, the_deployment(fleet, name))
        key = the_key(fleet, deployment)
    repeatable = message is not None or not sys.stdin.isatty()
    _talk(deployment, key, _questions(message), repeatable=repeatable)


def _talk(deployment: "Deployment", key: "Secret", questions: Iterator[str], *, repeatable: bool) -> None:
    from gpu_cli.fleet.clock import Clock
    from gpu_cli.fleet.reach.chat_client import stream_answer
    from gpu_cli.fleet.reach.wake import wake
    from gpu_providers.base import Kind

    said: list[dict[str, str]] = []
    for question in questions:
        if deployment.kind is Kind.SERVERLESS:
            wake(deployment.endpoint, key, Clock(), print_message)
        said.append({"role": "user", "content": question})
        answer = ""
        for piece in stream_answer(deployment.base_url, key, deployment.model, said, repeatable=repeatable):
            answer += piece
            print_line(piece, end="")
        print_line("")
        said.append({"role": "assistant", "content": answer})


def _questions(message: str | None) -> Iterator[str]:
    """The one given, or all of stdin, or what is typed until the end of input."""
    if message is not None:
        yield message
    elif not sys.stdin.isatty():
        yield sys.stdin.read()
    else:
        yield from _typed()


def _typed() -> Iterator[str]:
    while True:
        try:
            question = input("> ")
        except EOFError:
            return
        if question.strip():
            yield question
