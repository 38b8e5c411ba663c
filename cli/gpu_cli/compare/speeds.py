"""How much a deployment can do with requests of one kind: as measured where that was done, else as estimated."""

from dataclasses import dataclass
from datetime import UTC, datetime

from gpu_cli.compare.capacity import Capacity, capacity
from gpu_cli.compare.options import Figure, Source
from gpu_cli.compare.volume import Volume
from gpu_cli.planner.configurations import Configuration, Configurations
from gpu_cli.planner.measured import MeasuredRun, Measurements
from gpu_cli.planner.speed import Speed
from gpu_cli.recipe.schema import Recipe


@dataclass(frozen=True)
class KnownCapacity:
    """With where it is from."""

    capacity: Capacity
    figure: Figure


@dataclass(frozen=True)
class Speeds:
    """Of one recipe, for the requests of one volume."""

    recipe: Recipe
    configurations: Configurations | None
    """None where nothing is known of the model."""
    measurements: Measurements
    volume: Volume
    concurrency: int
    """How many requests one deployment answers at once, where its KV cache has room for them."""

    def find(self, gpu: str, gpu_count: int, configuration: Configuration | None) -> KnownCapacity | None:
        """Of the recipe on these cards, served like that; None where nothing is known."""
        estimated = self._estimated(gpu, configuration)
        for run in self.measurements.alike(self.recipe, gpu, gpu_count, configuration):
            if rate := self._measured(run):
                day = datetime.fromtimestamp(run.at, UTC).date()
                found = _capacity(rate, (run.input_tokens, run.output_tokens), estimated)
                return KnownCapacity(found, Figure(Source.MEASURED, day))
        if estimated is None:
            return None
        found = _capacity(estimated.decode_tokens_per_s_total, self._request, estimated)
        return KnownCapacity(found, Figure(Source.ESTIMATED))

    def _measured(self, run: MeasuredRun) -> float | None:
        """At that many at once, or at the most that were tried."""
        most = max(run.tokens_per_s_by_concurrency, default=0)
        return run.output_tokens_per_s(min(self.concurrency, most))

    def _estimated(self, gpu: str, configuration: Configuration | None) -> Speed | None:
        sizing = configuration.sizing if configuration else None
        if self.configurations is None or sizing is None or not sizing.starts:
            return None
        return self.configurations.speed_for(gpu, sizing, *self._request, self.concurrency)

    @property
    def _request(self) -> tuple[int, int]:
        return max(1, round(self.volume.input_tokens)), max(1, round(self.volume.output_tokens))


def _capacity(output_tokens_per_s: float, request: tuple[int, int], estimated: Speed | None) -> Capacity:
    if estimated is None:
        return capacity(output_tokens_per_s, request)
    return capacity(
        output_tokens_per_s,
        request,
        prefill_tokens_per_s=estimated.prefill_tokens_per_s,
        alone_tokens_per_s=estimated.decode_tokens_per_s_single,
    )
