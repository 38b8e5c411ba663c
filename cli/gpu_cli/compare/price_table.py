"""The form of the price table: what calling a model costs, and what owning a card does.

Every price, term and default carries its source and the day that source is of. The README documents the files for
people.
"""

from datetime import date
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    model_validator,
)

from gpu_providers.gpus import GPUS


def _parse_day(value: object) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a day, such as 2026-11-22") from None


def _check_card(name: str) -> str:
    if name not in GPUS:
        raise ValueError(f"{name!r} is no card that is known; see: gpu gpus")
    return name


Day = Annotated[date, BeforeValidator(_parse_day)]
Text = Annotated[str, Field(min_length=1)]
Usd = Annotated[FiniteFloat, Field(ge=0)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Sourced(_Section):
    """A figure, or a few of one source."""

    as_of: Day
    """The day that the source is of, UTC."""
    source: Text
    """A URL, or the user's own file."""


class UsdPerMillionTokens(_Section):
    """List prices."""

    input: Usd
    output: Usd


class RateLimits(Sourced):
    """What an account of the usual kind may send."""

    tier: Text
    """The kind of account, as the API calls it."""
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None
    """Prompts and answers together."""


class Regional(Sourced):
    """Where requests can be kept, at what price."""

    price_factors: dict[Text, Positive]
    """By region (`us`, `eu`, …), what the list prices are multiplied by for requests that do not leave it."""


class ApiModel(Sourced):
    """One model of an API; its key is the name by which it is called."""

    serves: Text | None = None
    """The model as it is called on the hub, in its maker's own repository; None for a closed one."""
    usd_per_million_tokens: UsdPerMillionTokens
    context: PositiveInt | None = None
    """Tokens of one request, prompt and answer; None where it was not found."""
    limits: RateLimits | None = None
    """None where none was found."""
    regional: Regional | None = None
    """None where requests cannot be kept in a region, or nothing was found."""
    note: str = ""


class Terms(Sourced):
    """What an API does with what it is sent, by default, for who pays by the token."""

    regions: tuple[Text, ...] = ()
    """Where requests may be processed: `us`, `eu`, …; empty where it is not said."""
    trains_on_inputs: bool | None = None
    """None where it is not said."""
    retention_days: Annotated[int, Field(ge=0)] | None = None
    """How long prompts or answers may be kept; 0 for not at all, None where it is not said."""
    note: str = ""


class Api(_Section):
    """One provider of models by the token."""

    no_prices: str = ""
    """Why none is listed; empty where some are."""
    terms: Terms | None = None
    models: dict[Text, ApiModel] = {}

    @model_validator(mode="after")
    def _says_why_it_is_empty(self) -> Self:
        if bool(self.models) == bool(self.no_prices):
            raise ValueError("needs either `models` or, where there are none, the reason in `no_prices`")
        return self


class OpenModel(_Section):
    """What is known of a model that anybody can serve; its key is its maker's repository on the hub."""

    variants: tuple[Text, ...] = ()
    """Other repositories of the same model, quantized most often."""
    comparable: dict[Text, Text] = {}
    """Models that may stand in for it, each with the reason."""


class Card(Sourced):
    """One card to buy; its key is its name in `gpu gpus`."""

    usd: Positive
    """Of one card, new unless the note says otherwise, without tax."""
    board_power_w: PositiveInt
    """At most: the maker's figure."""
    note: str = ""


class Figure(Sourced):
    """A number that owning takes, with a default that others can look up."""

    value: Annotated[FiniteFloat, Field(ge=0)]
    note: str = ""


class PositiveFigure(Figure):
    """One that things are divided by."""

    value: Positive


class ShareFigure(Figure):
    """A part of a whole, 0 to 1."""

    value: Share


class Ownership(_Section):
    """What owning costs beside the card."""

    host_share: Figure
    """Price of the machine around the cards (chassis, CPUs, memory, disks, network), as a share of the cards'."""
    host_power_share: Figure
    """Power of that machine, as a share of the cards'."""
    pue: Figure
    """Power of the building for each watt of the machine."""
    usd_per_kwh: Figure
    staff_hours_per_month: Figure
    """For one machine."""
    staff_usd_per_hour: Figure
    """With everything that an employer pays."""
    lifetime_months: PositiveFigure
    """Until it is sold or thrown away."""
    resale_share: ShareFigure
    """What it sells for then, as a share of its price."""


class Prices(_Section):
    """The whole table: all shipped files and, over them, the user's."""

    apis: dict[Text, Api]
    models: dict[Text, OpenModel]
    cards: dict[Annotated[str, AfterValidator(_check_card)], Card]
    ownership: Ownership
