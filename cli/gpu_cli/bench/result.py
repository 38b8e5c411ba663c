"""What a benchmark found, and of what. Times in seconds, rates per second; prices are for the whole deployment."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """What was measured, as far as that decides how fast it is and what it costs."""

    name: str
    """Of the deployment."""
    resource_name: str
    recipe: str
    recipe_digest: str
    model: str
    """Where its weights are from, as the recipe says."""
    quantization: str
    """Empty where the recipe names none."""
    provider: str
    region: str
    gpu: str
    """`cpu` for none."""
    gpu_count: int
    engine_version: str
    engine_args: tuple[str, ...]
    """The flags that decide speed or memory, neither paths, ports nor names, and its environment as NAME=VALUE."""
    price_usd_per_hour: float


@dataclass(frozen=True)
class Load:
    """The requests that were sent at every level."""

    input_tokens: int | None
    """Of each prompt; None where they come from a dataset."""
    output_tokens: int | None
    """Asked of each answer; None where the dataset, or the model, decides."""
    dataset: str
    """A file; empty for random prompts."""
    streaming: bool
    duration_s: float
    """Of each level."""


@dataclass(frozen=True)
class Spread:
    """How a figure lies over the requests of a level."""

    median: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Level:
    """What one pressure gave: either `concurrency` requests at once all the time, or `rate_per_s` arrivals."""

    concurrency: int | None
    rate_per_s: float | None
    seconds: float
    """Of the window that the figures are of: after the warm-up, while new requests were still sent."""
    requests: int
    """That began in the window and were answered in full."""
    errors: Mapping[str, int]
    """How many were not, by a short word for why."""
    input_tokens: int
    """Worked on in the window for requests that were answered, as the engine counts them."""
    output_tokens: int
    """The same for answers."""
    time_to_first_token_s: Spread | None
    """None where nothing was answered, or answers did not stream."""
    inter_token_latency_s: Spread | None
    """Of each answer the mean time between two tokens."""
    latency_s: Spread | None
    """Of the whole request."""
    partial: str = ""
    """Why these figures are not of the whole level; empty when they are."""

    @property
    def output_tokens_per_s(self) -> float:
        """Of all requests together."""
        return self.output_tokens / self.seconds if self.seconds else 0.0

    @property
    def total_tokens_per_s(self) -> float:
        """Prompts and answers."""
        return (self.input_tokens + self.output_tokens) / self.seconds if self.seconds else 0.0

    def usd_per_million_output_tokens(self, price_usd_per_hour: float) -> float | None:
        """While it is kept this busy; None where it answered nothing."""
        return price_usd_per_hour * 1e6 / (3600 * self.output_tokens_per_s) if self.output_tokens else None


@dataclass(frozen=True)
class BenchRun:
    """One benchmark of one deployment."""

    at: float
    """When it began, seconds since the epoch, UTC."""
    subject: Subject
    load: Load
    levels: tuple[Level, ...]
    """By growing pressure."""
    generator: str
    """The load generator, with its version."""

    @property
    def partial(self) -> bool:
        """Whether some level is incomplete."""
        return any(level.partial for level in self.levels)
