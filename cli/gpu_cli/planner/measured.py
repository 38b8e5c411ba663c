"""Speeds that were measured, which take the place of estimates: of the same model, served alike on the same cards."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from gpu_cli.planner.configurations import Configuration
from gpu_cli.planner.engine.engine_args import deciding_args
from gpu_cli.planner.trial import usual_request
from gpu_cli.recipe.schema import Recipe

LIKE = 0.25
"""How far, as a part of it, the lengths of prompts and answers may be from those of the estimate."""


@dataclass(frozen=True)
class Serving:
    """What decides how fast a model is served."""

    model: str
    """Where it is from, as the recipe says."""
    quantization: str
    """That vLLM makes; empty for the checkpoint's own."""
    engine_version: str
    engine_args: tuple[str, ...]
    """As `deciding_args` has them."""


def serving_of(recipe: Recipe, gpu_count: int, configuration: Configuration | None) -> Serving:
    """How the recipe is served there."""
    args = deciding_args(recipe, gpu_count=gpu_count, sized=configuration.flags if configuration else None)
    return Serving(str(recipe.model).removeprefix("hf://"), recipe.quantization or "", recipe.engine.version, args)


@dataclass(frozen=True)
class MeasuredRun:
    """A benchmark, as far as it says how fast the next deployment will be."""

    at: float
    """When it began, seconds since the epoch, UTC."""
    serving: Serving
    gpu: str
    gpu_count: int
    input_tokens: int
    output_tokens: int
    """Of each request."""
    tokens_per_s_by_concurrency: Mapping[int, float]
    """Of all answers together; complete levels only."""

    def output_tokens_per_s(self, concurrency: int) -> float | None:
        """At that many requests at once; None outside what was measured.

        Throughput grows more slowly the more there are, so that a straight line between two levels is never too high.
        """
        levels = sorted(self.tokens_per_s_by_concurrency.items())
        for (below, slower), (above, faster) in pairwise([levels[0], *levels] if levels else ()):
            if below <= concurrency <= above:
                share = (concurrency - below) / (above - below) if above > below else 0.0
                return slower + share * (faster - slower)
        return None


@dataclass(frozen=True)
class Measured:
    """A measured speed."""

    output_tokens_per_s: float
    """Of all answers together, at the recipe's concurrency."""
    at: float
    """When, seconds since the epoch, UTC."""


@dataclass(frozen=True)
class Measurements:
    """All benchmarks that there are, the last one first."""

    runs: tuple[MeasuredRun, ...] = ()

    def alike(
        self, recipe: Recipe, gpu: str, gpu_count: int, configuration: Configuration | None
    ) -> tuple[MeasuredRun, ...]:
        """Those of this recipe on these cards, with requests like those that estimates are for, the last one first."""
        if not self.runs:
            return ()
        sizing = configuration.sizing if configuration else None
        serving = serving_of(recipe, gpu_count, configuration)
        usual = usual_request(sizing.workload.context if sizing else recipe.context)
        return tuple(
            run
            for run in self.runs
            if (run.serving, run.gpu, run.gpu_count) == (serving, gpu, gpu_count)
            and all(map(_is_like, (run.input_tokens, run.output_tokens), usual))
        )

    def find(self, recipe: Recipe, gpu: str, gpu_count: int, configuration: Configuration | None) -> Measured | None:
        """By the last of these that reaches the recipe's concurrency; None where none does."""
        for run in self.alike(recipe, gpu, gpu_count, configuration):
            tokens_per_s = run.output_tokens_per_s(recipe.concurrency)
            if tokens_per_s:
                return Measured(tokens_per_s, run.at)
        return None


NOTHING_MEASURED = Measurements()


def _is_like(tokens: int, usual: int) -> bool:
    return abs(tokens - usual) <= LIKE * usual
