"""What a benchmark presses on, how hard, and how far it is."""

from dataclasses import dataclass

from gpu_providers.base import Secret


@dataclass(frozen=True)
class Endpoint:
    """A server of the OpenAI API. The base URL ends in `/v1`."""

    base_url: str
    key: Secret
    model: str
    """As requests name it."""

    @property
    def secure(self) -> bool:
        """Whether the environment's proxies may be used: over plain HTTP they would see the key."""
        return self.base_url.startswith("https://")


@dataclass(frozen=True)
class Pressure:
    """How hard a level presses: exactly one of the two is set."""

    concurrency: int | None = None
    """That many requests under way all the time."""
    rate_per_s: float | None = None
    """That many arrivals on average, at random moments (Poisson), however many are under way."""

    def __str__(self) -> str:
        return f"concurrency {self.concurrency}" if self.concurrency else f"{self.rate_per_s:g} requests/s"


@dataclass(frozen=True)
class Timing:
    """Of each level: new requests are sent for `warm_up_s` and then for `window_s`, of which the figures are."""

    warm_up_s: float
    window_s: float

    @property
    def sending_s(self) -> float:
        """How long requests are sent."""
        return self.warm_up_s + self.window_s


@dataclass(frozen=True)
class Standing:
    """How far a benchmark is."""

    pressure: Pressure
    answered: int
    """Requests of this level so far, the warm-up included."""
    failed: int
    output_tokens_per_s: float
    """Of this level so far."""
    remaining_s: float
    """Until this level's last request is sent."""
