"""How much one deployment can do in a second, and so how many it takes.

A benchmark or the planner tells how many output tokens a second come out of a busy deployment for requests of one
shape, their prompts included, and the planner how fast prompts alone are read. That splits the time of a busy
deployment into a part for each token read and a part for each token written:

    1 / output rate = time of an output token + (prompt tokens / output tokens) x time of a prompt token

With these two times any other mix of prompts and answers is worked out. The context of a request is taken to be about
as long as that of the requests that were measured: much longer ones are slower than this says.
"""

import math
from dataclasses import dataclass

from gpu_cli.compare.volume import Volume

_ROUNDING = 1e-9
"""Of floating point: a deployment that is full to this is not two."""


@dataclass(frozen=True)
class Capacity:
    """What one deployment can do, while it is kept busy."""

    input_token_s: float
    """For each token of a prompt."""
    output_token_s: float
    """For each token of an answer."""
    alone_token_s: float
    """Between the tokens of one answer with nobody else there."""

    def busy(self, volume: Volume) -> float:
        """How many deployments the work fills, on average over the hours of use."""
        return volume.requests_per_s / self.requests_per_s(volume)

    def requests_per_s(self, volume: Volume) -> float:
        """How many such requests one deployment answers, kept busy."""
        return 1 / (volume.input_tokens * self.input_token_s + volume.output_tokens * self.output_token_s)

    def deployments(self, volume: Volume) -> int:
        """How many it takes in the busiest hour."""
        return max(1, math.ceil(volume.peak * self.busy(volume) * (1 - _ROUNDING)))

    def filled_by(self, volume: Volume) -> float:
        """The factor on the volume up to which one deployment does in the busiest hour."""
        return 1 / (volume.peak * self.busy(volume))

    def alone_s(self, volume: Volume) -> float:
        """From the request to the end of its answer, with nobody else there."""
        return volume.input_tokens * self.input_token_s + volume.output_tokens * self.alone_token_s


def capacity(
    output_tokens_per_s: float,
    request: tuple[float, float],
    *,
    prefill_tokens_per_s: float = math.inf,
    alone_tokens_per_s: float | None = None,
) -> Capacity:
    """From the rate of a busy deployment for requests of that shape (tokens of the prompt, of the answer).

    Where prompts alone would take longer than everything did, they were read beside the answers: then all the time is
    theirs.
    """
    prompt_share = request[0] / request[1]
    input_token_s = min(1 / prefill_tokens_per_s, 1 / (output_tokens_per_s * prompt_share))
    return Capacity(
        input_token_s,
        1 / output_tokens_per_s - prompt_share * input_token_s,
        1 / (alone_tokens_per_s or output_tokens_per_s),
    )
