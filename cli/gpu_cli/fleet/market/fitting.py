"""The question of `gpu fit`: one model, and how it would lie on cards. Nothing is asked of a cloud."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.market.measured import measurements_in
from gpu_cli.fleet.market.recipe_model import configurations_of, pinned_by, what_is_known
from gpu_cli.models.asked import asked_for
from gpu_cli.models.known import KnownModel
from gpu_cli.paths import Paths
from gpu_cli.planner import levers
from gpu_cli.planner.configurations import Configuration, Configurations
from gpu_cli.planner.engine.engine_settings import Layout
from gpu_cli.planner.kv.kv_cache import kv_cache
from gpu_cli.planner.measured import NOTHING_MEASURED, Measured, Measurements
from gpu_cli.planner.sizing import Sizing, Verdict
from gpu_cli.recipe.schema import Recipe
from gpu_cli.unknown_card import unknown_card
from gpu_cli.weights.source import Scheme
from gpu_providers.gpus import GPUS, Gpu, canonical
from gpu_providers.price_snapshot import snapshot_offers

KV_CACHE_DTYPES = ("auto", "fp8", "fp8_e4m3", "fp8_e5m2")
COUNTS = (1, 2, 4, 8)
"""Of one card in one machine, as clouds sell them."""
MOST_CARDS = 64

_DEFAULTS = {"gpu_memory_utilization": None, "kv_cache_dtype": "auto", "enforce_eager": False}


@dataclass(frozen=True)
class Question:
    """As it was asked; None leaves it to the recipe, and then to the defaults."""

    model: str
    quantization: str | None = None
    context: int | None = None
    concurrency: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str | None = None
    config_file: Path | None = None
    engine_version: str | None = None

    def changes(self, recipe: Recipe) -> Mapping[str, Any]:
        """Fields of the recipe that were asked to be otherwise."""
        changes: dict[str, Any] = {"context": self.context, "concurrency": self.concurrency}
        if self.engine_version:
            changes["engine"] = recipe.engine.model_copy(update={"version": self.engine_version})
        return {field: value for field, value in changes.items() if value is not None}

    def pinned(self, recipe: Recipe) -> Mapping[str, Any]:
        """What is taken as it stands: `gpu fit` answers for these settings, and names the flag that would help.

        What was asked for comes before what the recipe's own arguments say, and that before the engine's defaults.
        """
        asked = {"gpu_memory_utilization": self.gpu_memory_utilization, "kv_cache_dtype": self.kv_cache_dtype}
        given = {field: value for field, value in asked.items() if value is not None}
        return {**_DEFAULTS, **pinned_by(recipe), **given}

    def flags(self) -> tuple[str, ...]:
        """Its own settings, as vLLM is told them."""
        utilization, kv_dtype = self.gpu_memory_utilization, self.kv_cache_dtype
        flags = ("--gpu-memory-utilization", str(utilization)) if utilization is not None else ()
        return (*flags, "--kv-cache-dtype", kv_dtype) if kv_dtype not in (None, "auto") else flags


@dataclass(frozen=True)
class Opened:
    """A question, with everything that its answers need."""

    question: Question
    recipe: Recipe
    known: KnownModel
    configurations: Configurations
    defaults: tuple[str, ...]
    """A sentence for each setting that nobody chose."""
    measurements: Measurements = NOTHING_MEASURED
    """Of the recipe as it is: none where something else was asked of it."""

    @property
    def model(self) -> str:
        """As people call it."""
        source = self.recipe.model
        if self.question.config_file is not None:
            return self.question.model
        return source.location if source.scheme is Scheme.HUGGING_FACE else str(source)

    def kv_bytes_per_token(self, sizing: Sizing) -> float:
        """Of the model as a whole, whatever the number of GPUs: what one more token takes where nothing is split."""
        return kv_cache(self.known.facts, replace(sizing.settings, layout=Layout())).bytes_per_token


@dataclass(frozen=True)
class Fit:
    """How the model would lie on `count` of this card."""

    gpu: Gpu
    count: int
    configuration: Configuration
    price_usd_per_hour: float | None
    """The lowest on-demand price of the snapshot; None where no cloud sells that many."""
    measured: Measured | None = None
    """What a benchmark of the same says of its speed; None where there is none."""

    @property
    def runs(self) -> bool:
        """Whether vLLM would come up at all."""
        return self.configuration.verdict is not Verdict.NO


def open_question(question: Question, paths: Paths, cwd: Path, environ: Mapping[str, str]) -> Opened:
    """Raises UserError for a model that is not known, and for a setting that makes no sense."""
    if question.kv_cache_dtype not in (None, *KV_CACHE_DTYPES):
        known_types = ", ".join(KV_CACHE_DTYPES)
        raise UserError(Exit.BAD_INPUT, "usage", f"--kv-dtype {question.kv_cache_dtype}: one of {known_types}")
    asked = asked_for(question.model, paths, cwd, environ, config_file=question.config_file)
    recipe = asked.recipe.model_copy(update=question.changes(asked.recipe))
    known = what_is_known(recipe, paths, environ, config_file=question.config_file)
    if question.quantization:
        known = _requantized(known, question.quantization)
    configurations = configurations_of(recipe, known, question.pinned(recipe))
    untold = [key for key in ("context", "concurrency") if getattr(question, key) is not None]
    defaults = tuple(text for text in asked.defaults if not text.startswith(tuple(untold)))
    as_it_is = not (question.quantization or question.config_file or question.flags())
    found = measurements_in(paths.record) if as_it_is else NOTHING_MEASURED
    return Opened(question, recipe, known, configurations, defaults, found)


def parse_card(text: str) -> tuple[Gpu, int]:
    """A card and how many, from `H100:2`; `H100` is one. Raises UserError BAD_INPUT."""
    name, colon, count = text.partition(":")
    gpu = canonical(name)
    if gpu is None:
        raise unknown_card(name)
    if colon and not (count.isdecimal() and 0 < int(count) <= MOST_CARDS):
        message = f"--gpu {text}: behind the colon stands a number from 1 to {MOST_CARDS}, as in {gpu.name}:2"
        raise UserError(Exit.BAD_INPUT, "usage", message, hint="see gpu fit --help")
    return gpu, int(count or 1)


def fit_everywhere(opened: Opened) -> Sequence[Fit]:
    """On every card, as few of it as it fits on: those on which it fits first, then by price."""
    fits = [min((fit_on(opened, gpu, count) for count in COUNTS), key=_verdict) for gpu in GPUS.values()]
    return sorted(fits, key=lambda fit: (_verdict(fit), fit.price_usd_per_hour or math.inf, fit.gpu.name))


def _verdict(fit: Fit) -> int:
    return (Verdict.FITS, Verdict.TIGHT, Verdict.NO).index(fit.configuration.verdict)


def fit_on(opened: Opened, gpu: Gpu, count: int) -> Fit:
    """On that many of the card."""
    prices = [
        offer.price_usd_per_hour
        for offer in snapshot_offers()
        if (offer.gpu, offer.gpu_count, offer.interruptible) == (gpu.name, count, False)
    ]
    configuration = opened.configurations.best(gpu.name, count)
    measured = opened.measurements.find(opened.recipe, gpu.name, count, configuration)
    return Fit(gpu, count, configuration, min(prices, default=None), measured)


def with_lever(opened: Opened, fit: Fit) -> Fit:
    """With what would give it a better verdict, if anything does."""
    sizing = fit.configuration.sizing
    if sizing is None:
        return fit
    known = opened.known
    sizing = levers.with_lever(known.facts, known.parts, fit.gpu, sizing.memory.total_gib, sizing)
    return replace(fit, configuration=replace(fit.configuration, sizing=sizing))


def _requantized(known: KnownModel, label: str) -> KnownModel:
    try:
        return known.stored_as(label.lower())
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, "usage", f"--quant: {error}") from None
