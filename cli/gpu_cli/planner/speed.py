"""How fast a model that fits will be: what one user sees, what all together get, and what a token costs."""

from dataclasses import dataclass

from gpu_cli.planner.performance.efficiency import efficiency
from gpu_cli.planner.performance.model_cost import ModelCost
from gpu_cli.planner.performance.roofline import Roofline, roofline
from gpu_cli.planner.sizing import Sizing
from gpu_providers.gpus import Gpu


@dataclass(frozen=True)
class Speed:
    """What to expect of a running deployment."""

    decode_tokens_per_s_single: float
    """Of one answer, with nobody else there."""
    decode_tokens_per_s_total: float
    """Of all answers together at the workload's concurrency, prompts of new requests in between."""
    prefill_tokens_per_s: float
    """Of prompts, with nothing else to do."""
    time_to_first_token_s: float
    """Of one prompt on an idle server."""
    running_requests: float
    """How many are answered at once: as wanted, or what `max_num_seqs` and the KV cache allow."""
    expected_relative_error: float
    """Half of all predictions for such cards are closer to the truth than this."""


@dataclass(frozen=True)
class Load:
    """Requests that all look alike."""

    input_tokens: float
    output_tokens: float

    @property
    def mean_context(self) -> float:
        """Of a request while it is answered."""
        return self.input_tokens + self.output_tokens / 2


def speed(cost: ModelCost, sizing: Sizing, gpu: Gpu, input_tokens: int, output_tokens: int) -> Speed:
    """Of `sizing`, which starts, for prompts and answers of that length.

    `cost` is `model_cost(facts, parts)`, made once per model: this is called for hundreds of configurations.
    Speculative decoding is not counted: what it brings depends on the text.
    """
    line = roofline(cost, sizing.settings, gpu)
    load = Load(input_tokens, output_tokens)
    budget = filled(sizing.settings.max_num_batched_tokens)
    running = running_requests(sizing, load)
    prompt_s = prompt_seconds(line, input_tokens, budget)
    return Speed(
        decode_tokens_per_s_single=1 / line.step_s(0, 0, 1, load.mean_context),
        decode_tokens_per_s_total=output_tokens_per_s(line, load, running, budget),
        prefill_tokens_per_s=input_tokens / prompt_s,
        time_to_first_token_s=prompt_s,
        running_requests=running,
        expected_relative_error=efficiency(gpu).expected_error,
    )


def usd_per_million_tokens(price_usd_per_hour: float, tokens_per_s: float) -> float:
    """At that price of the whole deployment, kept that busy; with the rate of answers, prompts are in it."""
    return price_usd_per_hour * 1e6 / (3600 * tokens_per_s)


def running_requests(sizing: Sizing, load: Load) -> float:
    """At once: requests beyond `max_num_seqs` or the KV cache wait. Halfway through its answer a request is average."""
    settings = sizing.settings
    cached = sizing.max_concurrency * settings.max_model_len / load.mean_context
    return max(1.0, min(sizing.workload.concurrency, filled(settings.max_num_seqs), cached))


def prompt_seconds(line: Roofline, tokens: float, budget: float) -> float:
    """To run a prompt alone, in pieces of at most `budget` tokens, each of which looks back at all before it.

    With pipeline parallelism the pieces follow each other through the stages.
    """
    pieces, stages = -(-tokens // budget), line.pipeline_parallel
    round_s = line.step_s(tokens / pieces * stages, tokens / 2, 0, 0)
    return round_s * (pieces + stages - 1) / stages


def output_tokens_per_s(line: Roofline, load: Load, running: float, budget: float) -> float:
    """In the steady state, where a new request comes for each that is done.

    Some steps run a piece of a prompt beside the answers, the others answers alone. Where prompts fill every step's
    budget of tokens they set the pace, and fewer than `running` requests are past their prompt.
    """
    prompt_per_token = load.input_tokens / load.output_tokens
    decoding = min(running, budget / (1 + prompt_per_token))
    arriving = decoding * prompt_per_token
    piece = max(arriving, min(load.input_tokens, budget - decoding))
    mixed_s = line.step_s(piece, load.input_tokens / 2, decoding, load.mean_context)
    plain_s = line.step_s(0, 0, decoding, load.mean_context)
    share = arriving / piece
    return decoding / (share * mixed_s + (1 - share) * plain_s)


def filled(setting: int | None) -> int:
    """A setting that `engine_defaults.fill_in` has given a value. Raises ValueError where it has not."""
    if setting is None:
        raise ValueError("the settings of a sizing have no defaults left to fill in")
    return setting
