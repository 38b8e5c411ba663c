"""How a model is best served on a number of GPUs of one type: the layout and the flags of vLLM."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpu_cli.planner.engine.engine_settings import EngineSettings, EngineVersion, Layout
from gpu_cli.planner.engine.flag_sets import flag_sets, flags_of
from gpu_cli.planner.engine.hardware import legal_layouts
from gpu_cli.planner.engine.sharding import why_not_divisible
from gpu_cli.planner.model.facts import ModelFacts, Part, WeightPart
from gpu_cli.planner.sizing import Sizing, Verdict, Workload
from gpu_cli.planner.speed import Speed
from gpu_cli.planner.trial import Model, Trial
from gpu_providers.gpus import GPUS, Gpu

_MOST_NODES = 8
_LAYOUT_FIELDS = frozenset(Layout.__dataclass_fields__)
_MAY_STAY_OUT = (Part.MTP, Part.TOWER)
"""Parts that some settings do not load."""


def least_loaded_gib(parts: Sequence[WeightPart]) -> float:
    """What the weights take of all GPUs together at the least, GiB; less than that cannot serve the model."""
    return sum(part.stored_bytes for part in parts if part.part not in _MAY_STAY_OUT) / 2**30


@dataclass(frozen=True)
class Configuration:
    """A model on a number of GPUs of one type, served as well as it can be."""

    sizing: Sizing | None
    """None where nothing could be sized: a card that is not known, or a number of GPUs that the model cannot use."""
    speed: Speed | None
    """None where it does not run."""
    flags: tuple[str, ...]
    """What vLLM has to be told for it, beyond what the recipe says."""
    why_not: str = ""
    """Why it does not run; empty when it does."""

    @property
    def verdict(self) -> Verdict:
        """Of its sizing; `no` where nothing could be sized."""
        return self.sizing.verdict if self.sizing else Verdict.NO


class Configurations:
    """The best configuration of one model and workload on any GPUs; each is worked out once.

    `pinned` holds the settings that the recipe fixes (`pinned_settings`): they are sized with, and never changed.
    """

    def __init__(
        self,
        facts: ModelFacts,
        parts: Sequence[WeightPart],
        workload: Workload,
        version: EngineVersion,
        pinned: Mapping[str, Any],
    ) -> None:
        self.facts = facts
        self.workload = workload
        self.weights_gib = sum(part.stored_bytes for part in parts) / 2**30
        """Of the whole model as it is stored, and so downloaded."""
        self._loaded_gib = least_loaded_gib(parts)
        self._pinned = pinned
        self._layout_pins = {field: value for field, value in pinned.items() if field in _LAYOUT_FIELDS}
        engine_pins = {field: value for field, value in pinned.items() if field not in _LAYOUT_FIELDS}
        self._plain = replace(EngineSettings(version, workload.context), **engine_pins)
        self._model = Model(facts, parts, workload)
        self._found: dict[tuple[str, int, float], Configuration] = {}

    def best(self, gpu: str, count: int, memory_gib: float = math.inf) -> Configuration:
        """On `count` of the card of this canonical name, all of them used; with `memory_gib` each if that is less than
        such a card has, as with error correction switched on.

        The cheapest lever with which it fits; else that with which it holds the most requests; else why it does not
        run. Of several layouts the one that is best with the engine's defaults, and of equals the fastest, as long as
        that fits.
        """
        card = GPUS.get(gpu)
        if card is None:
            return Configuration(None, None, (), f"is no card that the planner knows ({gpu})")
        key = (gpu, count, min(card.memory_gib, memory_gib))
        if key not in self._found:
            self._found[key] = self._search(replace(card, memory_gib=key[2]), count)
        return self._found[key]

    def speed_for(self, gpu: str, sizing: Sizing, input_tokens: int, output_tokens: int, concurrency: int) -> Speed:
        """Of one of its sizings, which starts, with other requests than are usual, so many of them at once."""
        asked = replace(sizing, workload=replace(sizing.workload, concurrency=concurrency))
        return self._model.speed_for(GPUS[gpu], asked, input_tokens, output_tokens)

    def too_small(self, gpu: str, count: int) -> str:
        """Why the weights alone are too large, which is quickly said; empty when they may not be."""
        all_gib = GPUS[gpu].memory_gib * count
        if self._loaded_gib < all_gib:
            return ""
        cards = f"{count} x {gpu} have" if count > 1 else f"one {gpu} has"
        return f"weights take {self._loaded_gib:.1f} GiB, and {cards} {all_gib:.1f}"

    def nodes_needed(self, gpu: str, count: int) -> int | None:
        """How many machines, each with `count` of this card, would do: each takes its share of the layers.

        The fewest on which it fits, else the fewest on which it starts; None when eight are too few.
        """
        starts_on = None
        for nodes in range(2, _MOST_NODES + 1):
            verdict = self._over_nodes(GPUS[gpu], count, nodes)
            if verdict is Verdict.FITS:
                return nodes
            starts_on = starts_on or (nodes if verdict is Verdict.TIGHT else None)
        return starts_on

    def _over_nodes(self, gpu: Gpu, count: int, nodes: int) -> Verdict:
        layouts = self._layouts(gpu, count)
        if not layouts or self.too_small(gpu.name, count * nodes):
            return Verdict.NO
        spread = [replace(layout, pipeline_parallel=layout.pipeline_parallel * nodes) for layout in layouts]
        return self._best_of(gpu, spread).sizing.verdict

    def _search(self, gpu: Gpu, count: int) -> Configuration:
        layouts = self._layouts(gpu, count)
        if not layouts:
            fixed = ", as the recipe's own arguments fix the parallelism" if self._layout_pins else ""
            return Configuration(None, None, (), f"has {count} GPUs, over which the model cannot be spread{fixed}")
        best = self._best_of(gpu, layouts)
        why_not = "" if best.sizing.starts else "; ".join(best.sizing.reasons)
        flags = flags_of(best.settings, self._pinned)
        return Configuration(best.sizing, self._model.speed(gpu, best), flags, why_not)

    def _layouts(self, gpu: Gpu, count: int) -> list[Layout]:
        """Those that the model allows and the recipe's own arguments do not forbid, or the one that they spell out."""
        pins = self._layout_pins
        experts = {field: value for field, value in pins.items() if field == "expert_parallel"}
        sensible = [replace(layout, **experts) for layout in legal_layouts(self.facts, gpu, count)]
        wanted = [layout for layout in sensible if all(getattr(layout, field) == pins[field] for field in pins)]
        spelt_out = Layout(**pins)
        if not wanted and spelt_out.gpu_count == count and spelt_out.decode_context_parallel == 1:
            wanted = [spelt_out]
        return [layout for layout in wanted if not why_not_divisible(self.facts, layout)]

    def _best_of(self, gpu: Gpu, layouts: Sequence[Layout]) -> Trial:
        """With room to run all of the wanted requests at once; where that does not start, as many as by default."""
        settings = self._plain_on(gpu)
        best = self._best_with(gpu, layouts, settings)
        return best if best.sizing.starts or settings == self._plain else self._best_with(gpu, layouts, self._plain)

    def _best_with(self, gpu: Gpu, layouts: Sequence[Layout], settings: EngineSettings) -> Trial:
        """The best layout with these settings, if it fits so; else the first that fits with levers, or the closest."""
        trials = [self._model.on(gpu, replace(settings, layout=layout)) for layout in layouts]
        if len(trials) > 1:
            trials.sort(key=lambda trial: (trial.rating, self._model.slowness(gpu, trial)))
        if trials[0].sizing.verdict is Verdict.FITS:
            return trials[0]
        tried: list[Trial] = []
        for trial in trials:
            if trial.sizing.starts or self._model.can_run_on(gpu, trial.sizing.settings):
                tried.append(self._with_levers(gpu, trial))
                if tried[-1].sizing.verdict is Verdict.FITS:
                    return tried[-1]
        return min(tried, key=lambda trial: trial.rating, default=trials[0])

    def _plain_on(self, gpu: Gpu) -> EngineSettings:
        """The engine's defaults, but that it runs no fewer requests at once than are wanted."""
        wanted = self.workload.concurrency
        if "max_num_seqs" in self._pinned or self._model.sequences_by_default(gpu, self._plain) >= wanted:
            return self._plain
        return replace(self._plain, max_num_seqs=wanted)

    def _with_levers(self, gpu: Gpu, plain: Trial) -> Trial:
        """The first set of flags that fits, else the best; where nothing starts all levers show how much is missing."""
        sets = flag_sets(
            plain.settings,
            plain.sizing.settings,
            self._pinned,
            self.workload.concurrency,
            fp8_cache=self._model.can_run_on(gpu, replace(plain.settings, kv_cache_dtype="fp8")),
        )
        if not plain.sizing.starts and not (with_all := self._model.on(gpu, sets[-1])).sizing.starts:
            return with_all
        tried = [plain]
        for settings in sets[1:]:
            tried.append(self._model.on(gpu, settings))
            if tried[-1].sizing.verdict is Verdict.FITS:
                break
        return min(tried, key=lambda trial: trial.rating)
