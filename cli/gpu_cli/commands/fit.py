"""`gpu fit`: does a model fit, on which card, and with what left."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, complete_recipe

if TYPE_CHECKING:
    from gpu_cli.exits import Exit
    from gpu_cli.fleet.market.fitting import Fit, Opened
    from gpu_cli.ui.output import Result
    from gpu_providers.gpus import Gpu


def fit(
    model: Annotated[
        str,
        typer.Argument(
            help="A recipe, ORG/MODEL[:QUANT], or a folder with a config.json.", autocompletion=complete_recipe
        ),
    ],
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", help="A card, or several of it (H100:2). May be repeated. Default: every card."),
    ] = None,
    quant: Annotated[
        str | None, typer.Option("--quant", help="As if it were stored so: bf16, fp8, int8, awq, nvfp4, ...")
    ] = None,
    context: Annotated[int | None, typer.Option("--context", min=1, max=10**9, help="Tokens of one request.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, max=10**6, help="Requests at once.")
    ] = None,
    utilization: Annotated[
        float | None,
        typer.Option("--gpu-memory-utilization", min=0.01, max=1.0, help="What vLLM may take of a card's memory."),
    ] = None,
    kv_dtype: Annotated[str | None, typer.Option("--kv-dtype", help="Of the KV cache: auto or fp8.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Take the model's facts from this config.json.")
    ] = None,
    engine_version: Annotated[str | None, typer.Option("--engine-version", help="Of vLLM.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a model fits on a card, with which flags, and what would change it."""
    import os

    from gpu_cli.fleet.market.fitting import Question, open_question, parse_card
    from gpu_cli.paths import Paths
    from gpu_cli.ui.output import show

    cards = [parse_card(card) for card in gpu or ()]
    question = Question(model, quant, context, concurrency, utilization, kv_dtype, config, engine_version)
    opened = open_question(question, Paths.from_environ(os.environ), Path.cwd(), os.environ)
    show(_of_cards(opened, cards) if cards else _of_every_card(opened), as_json=as_json)


def _of_cards(opened: "Opened", cards: "Sequence[tuple[Gpu, int]]") -> "Result":
    """One drawing a card."""
    from gpu_cli.commands.fit_report import documents, drawing, header
    from gpu_cli.fleet.market.fitting import fit_on, with_lever
    from gpu_cli.ui.output import Result

    fits = [with_lever(opened, fit_on(opened, card, count)) for card, count in cards]
    drawings = tuple(drawing(opened, each) for each in fits)
    document = documents(opened, fits)
    return Result(document, drawings=drawings, prose=header(opened), exit_status=_status(fits))


def _of_every_card(opened: "Opened") -> "Result":
    """One row a card, the cheapest first, each with the fewest of it that will do."""
    from gpu_cli.commands.fit_report import documents, header, table, table_messages
    from gpu_cli.fleet.market.fitting import fit_everywhere
    from gpu_cli.ui.output import Result

    fits = fit_everywhere(opened)
    document = documents(opened, fits, several=True)
    prose = (*header(opened), *table_messages(fits))
    return Result(document, table=table(fits), prose=prose, exit_status=_status(fits))


def _status(fits: "Sequence[Fit]") -> "Exit":
    """Exit status 3 when it runs on none of them."""
    from gpu_cli.exits import Exit

    return Exit.DONE if any(each.runs for each in fits) else Exit.NOTHING_FITS
