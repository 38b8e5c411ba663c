"""The volume that `gpu compare` is asked about, from its flags."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from gpu_cli.compare.capacity import Capacity
from gpu_cli.compare.volume import DAYS_PER_MONTH, Volume, parse_amount, parse_growth
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

USUAL_PEAK = 2.0
"""The busiest hour against an average one, where nobody says: a guess."""

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What was typed; None for what was not."""

    tokens_in: str | None
    tokens_out: str | None
    requests: str | None
    utilization: float | None
    input_tokens: int | None
    output_tokens: int | None
    hours: float
    days: float | None
    peak: float | None

    def check(self) -> None:
        """There is one way of saying how much, with what belongs to it. Raises UserError BAD_INPUT."""
        by_tokens = self.tokens_in is not None or self.tokens_out is not None
        ways = (by_tokens, self.requests is not None, self.utilization is not None)
        if ways.count(True) != 1:
            hint = "as --tokens-in 10M --tokens-out 2M, --requests 20k or --utilization 0.5"
            raise _wrong("say in one way how much is asked on a day of use", hint)
        if by_tokens and (self.tokens_in is None or self.tokens_out is None):
            raise _wrong("--tokens-in and --tokens-out go together", "say both, as --tokens-in 10M --tokens-out 2M")
        if by_tokens and self.input_tokens is not None:
            hint = "leave --input out: prompts are as long as both amounts make them, for answers of --output tokens"
            raise _wrong("--input does not go with --tokens-in", hint)
        if self.utilization is not None and self.peak is not None:
            raise _wrong("--peak does not go with --utilization", "the utilization is that of the busiest hour")

    def one_request(self, usual: tuple[int, int]) -> Volume:
        """The volume of a single one a day; `usual` are the lengths of prompt and answer where nobody says them.

        Raises UserError BAD_INPUT.
        """
        output_tokens = float(self.output_tokens or usual[1])
        input_tokens = float(usual[0] if self.input_tokens is None else self.input_tokens)
        if self.tokens_in is not None:
            input_tokens = output_tokens * _amount("--tokens-in", self.tokens_in) / self._tokens_out
        days = DAYS_PER_MONTH if self.days is None else min(self.days, DAYS_PER_MONTH)
        one = Volume(1.0, input_tokens, output_tokens, self.hours, days)
        return one if self.utilization is not None else replace(one, peak=self.peak or USUAL_PEAK)

    def requests_per_day(self, one: Volume, base: Callable[[Volume], Capacity]) -> float:
        """As said, or as many as keep as busy as was said what `base` tells of. Raises UserError."""
        if self.utilization is not None:
            return self.utilization / base(one).busy(one)
        if self.requests is not None:
            return _amount("--requests", self.requests)
        return self._tokens_out / one.output_tokens

    @property
    def _tokens_out(self) -> float:
        return _amount("--tokens-out", self.tokens_out or "")


def growth_of(text: str | None) -> float:
    """A part of itself in a month; 0 for none. Raises UserError BAD_INPUT."""
    return 0.0 if text is None else _read("--growth", parse_growth, text)


def _amount(flag: str, text: str) -> float:
    return _read(flag, parse_amount, text)


def _read(flag: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, "usage", f"{flag}: {error}", hint="see gpu compare --help") from None


def _wrong(message: str, hint: str) -> UserError:
    return UserError(Exit.BAD_INPUT, "usage", message, hint=hint)
