"""One model on one card with one set of flags: its memory and its speed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

from gpu_cli.planner.engine.engine_defaults import fill_in
from gpu_cli.planner.engine.engine_settings import EngineSettings
from gpu_cli.planner.engine.hardware import why_cannot_run
from gpu_cli.planner.memory import size
from gpu_cli.planner.model.compact import merged_parts, with_shared_mixers
from gpu_cli.planner.model.facts import ModelFacts, WeightPart
from gpu_cli.planner.performance.model_cost import model_cost
from gpu_cli.planner.sizing import Sizing, Verdict, Workload
from gpu_cli.planner.speed import Speed, speed
from gpu_providers.gpus import Gpu

_INPUT_TOKENS, _OUTPUT_TOKENS = 1024, 256
_ORDER = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.NO: 2}


def usual_request(context: int | None) -> tuple[int, int]:
    """Tokens of the prompt and of the answer that speeds are given for, and measured with: a question with its papers.
    In a small context nine tenths of the room at most, as prompts that are measured with are now and then a little
    longer.
    """
    if context is None:
        return _INPUT_TOKENS, _OUTPUT_TOKENS
    return min(_INPUT_TOKENS, max(1, context * 7 // 10)), min(_OUTPUT_TOKENS, max(1, context // 5))


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    settings: EngineSettings
    """As tried: defaults are left open."""
    sizing: Sizing

    @property
    def rating(self) -> tuple[int, bool, int]:
        """Less is better: the verdict, CUDA graphs, and how many of the wanted requests it holds at full length."""
        held = min(int(self.sizing.max_concurrency), self.sizing.workload.concurrency)
        return (_ORDER[self.sizing.verdict], self.sizing.settings.enforce_eager, -held)


class Model:
    """A model and what is wanted of it, ready for many trials."""

    def __init__(self, facts: ModelFacts, parts: Sequence[WeightPart], workload: Workload) -> None:
        self._facts = with_shared_mixers(facts)
        self._workload = workload
        self._merged_parts = cache(partial(merged_parts, tuple(parts), facts))
        self._cost = model_cost(facts, parts)
        self._input_tokens, self._output_tokens = usual_request(workload.context)

    def on(self, gpu: Gpu, settings: EngineSettings) -> Trial:
        """On `settings.layout.gpu_count` of that card."""
        parts = self._merged_parts(settings.layout.pipeline_parallel)
        return Trial(settings, size(self._facts, parts, gpu, gpu.memory_gib, settings, self._workload))

    def speed(self, gpu: Gpu, trial: Trial) -> Speed | None:
        """None where it does not start."""
        if not trial.sizing.starts:
            return None
        return self.speed_for(gpu, trial.sizing, self._input_tokens, self._output_tokens)

    def speed_for(self, gpu: Gpu, sizing: Sizing, input_tokens: int, output_tokens: int) -> Speed:
        """Of a sizing that starts, with such requests."""
        return speed(self._cost, sizing, gpu, input_tokens, output_tokens)

    def slowness(self, gpu: Gpu, trial: Trial) -> float:
        """Less is better; of what does not start, what comes closest to it."""
        found = self.speed(gpu, trial)
        return -found.decode_tokens_per_s_total if found else -trial.sizing.memory.kv_cache_gib

    def can_run_on(self, gpu: Gpu, settings: EngineSettings) -> bool:
        """Whether the kind of card allows it, memory aside."""
        return not why_cannot_run(self._facts, gpu, settings)

    def sequences_by_default(self, gpu: Gpu, settings: EngineSettings) -> int:
        """`max_num_seqs`, where the settings leave it open."""
        return fill_in(settings, gpu, self._facts).max_num_seqs or 0
