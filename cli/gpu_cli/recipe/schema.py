"""The recipe: what to serve, on what, and how long it may live. The README documents the file for people.

Keys of the file are this module's field names, except where the file leaves the unit to the value: `idle: 15m` is
`idle_s`. A key without a value is a key that is not there.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    InstanceOf,
    PlainSerializer,
    PositiveInt,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gpu_cli.recipe.engine_flags import check_engine_arg, check_engine_variable
from gpu_cli.units import format_duration, parse_duration, parse_usd, plain_usd
from gpu_cli.weights.source import Scheme, Source
from gpu_providers.base import Kind

DEFAULT_ENGINE_VERSION = "0.32.0"
DEFAULT_CONCURRENCY = 16
MOST_CONTEXT, MOST_CONCURRENCY = 10**9, 10**6
"""Beyond what anything can serve: more is a slip of the keyboard."""

_LATER_KEYS: Mapping[str, object] = {
    "kind": None,
    "cache": {},
    "spot": False,
    "when_lost": "report",
    "regions": (),
    "privacy": "any",
}
"""With their defaults."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]*")


class Privacy(StrEnum):
    """What may happen to requests, each stricter than the one before."""

    ANY = "any"
    NO_TRAINING = "no-training"
    """Nothing is learnt from them."""
    NO_RETENTION = "no-retention"
    """Nor are they kept."""
    DEDICATED = "dedicated"
    """Nobody else's requests are answered by the same server."""


def check_name(name: str) -> str:
    """The name, if it may be a recipe's and so a deployment's. Raises ValueError for one that may not."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name; use up to 63 of a-z, 0-9, `.` and `-`, a letter or digit first")
    return name


def slug(text: str) -> str:
    """The nearest name that a recipe may have; empty when there is none."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")[:63]


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if text.startswith("-"):  # it would be taken for a flag where it goes on a command line
        raise ValueError("must not begin with `-`")
    return text


def _check_version(version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise ValueError(f"{version!r} is no release; write one such as {DEFAULT_ENGINE_VERSION!r}")
    return version


def _from_folder(text: str, info: ValidationInfo) -> str:
    """A path in a recipe is seen from the recipe's folder; other text stays as it is."""
    if not text.startswith(("./", "../", "~")):
        return text
    file: Path = info.context  # type: ignore[assignment]  # `parse_recipe` always gives it
    return str((file.parent / Path(text).expanduser()).resolve())


def _parse_source(value: object, info: ValidationInfo) -> Source:
    if not isinstance(value, str):
        raise ValueError("must be text, such as ORG/MODEL")
    return Source.parse(_from_folder(value, info))


def _parse_kind(value: object) -> Kind:
    if value not in list(Kind):
        raise ValueError(f"must be one of {', '.join(Kind)}")
    return Kind(str(value))


def _parse_privacy(value: object) -> Privacy:
    if value not in list(Privacy):
        raise ValueError(f"must be one of {', '.join(Privacy)}")
    return Privacy(str(value))


def _without_empty(options: object) -> object:
    if isinstance(options, dict):
        return {key: value for key, value in options.items() if value is not None}
    return {} if options is None else options


def _check_option(value: object) -> object:
    items = value if isinstance(value, tuple) else (value,)
    if any(isinstance(item, dict | tuple) for item in items):
        raise ValueError("must be one value or a list of values")
    return value


Text = Annotated[str, AfterValidator(_check_text)]
Seconds = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Usd = Annotated[float, BeforeValidator(parse_usd), PlainSerializer(plain_usd)]
WeightsSource = Annotated[InstanceOf[Source], BeforeValidator(_parse_source), PlainSerializer(str)]
WantedKind = Annotated[Kind, BeforeValidator(_parse_kind), PlainSerializer(str)]
WantedPrivacy = Annotated[Privacy, BeforeValidator(_parse_privacy), PlainSerializer(str)]
ProviderOptions = Annotated[dict[str, Annotated[Any, AfterValidator(_check_option)]], BeforeValidator(_without_empty)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}


class Engine(_Section):
    """The inference server; `args` go to it as they are, after those that the program sets itself."""

    name: Literal["vllm"] = "vllm"
    version: Annotated[str, AfterValidator(_check_version)] = DEFAULT_ENGINE_VERSION
    args: tuple[Annotated[str, AfterValidator(check_engine_arg)], ...] = ()
    env: dict[Annotated[str, AfterValidator(check_engine_variable)], str] = {}


class Gpu(_Section):
    """What it may run on. No names: any card will do."""

    names: tuple[Text, ...] = ()
    count: PositiveInt | None = None
    """None leaves it to the planner."""
    min_memory_gib: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Of ONE card."""
    cpu: bool = False
    """Whether a machine without a GPU will do."""


class RecipeLimits(_Section):
    """What the recipe says of its limits; None leaves it to the configuration."""

    idle_s: Seconds | None = Field(default=None, alias="idle")
    ttl_s: Seconds | None = Field(default=None, alias="ttl")
    start_deadline_s: Seconds | None = Field(default=None, alias="start_deadline")
    boot_deadline_s: Seconds | None = Field(default=None, alias="boot_deadline")
    budget_usd: Usd | None = None
    max_price_usd_per_hour: Usd | None = None


class Recipe(_Section):
    """One recipe, checked. Made by `files.py`, which knows the names and paths of recipes."""

    name: Annotated[str, AfterValidator(check_name)]
    description: str = ""
    model: WeightsSource
    revision: Text | None = None
    """Branch, tag or commit of a model on a hub."""
    weights: tuple[WeightsSource, ...] = Field(default_factory=lambda said: (said["model"],), min_length=1)
    """Where the model is fetched from, tried in this order."""
    quantization: Text | None = None
    context: Annotated[PositiveInt, Field(le=MOST_CONTEXT)] | None = None
    """Tokens of one request, prompt and answer; None is the model's own maximum."""
    concurrency: Annotated[PositiveInt, Field(le=MOST_CONCURRENCY)] = DEFAULT_CONCURRENCY
    """Requests that run at once."""
    served_name: Text = Field(default_factory=lambda said: said["name"])
    tool_call_parser: Text | None = None
    reasoning_parser: Text | None = None
    chat_template: Annotated[Text, AfterValidator(_from_folder)] | None = None
    """Path of a Jinja template, or the template itself."""
    engine: Engine = Engine()
    gpu: Gpu = Gpu()
    kind: WantedKind | None = None
    """What is to be rented; None takes whatever is offered."""
    spot: bool = False
    """Whether what the cloud may take back at any time will do."""
    when_lost: Literal["report", "replace"] = "report"
    """What is done when the cloud has taken it back after it was ready."""
    regions: tuple[Text, ...] = ()
    """Nowhere else may it be served: words, or beginnings of words, of a region's name; none is anywhere."""
    privacy: WantedPrivacy = Privacy.ANY
    """What whoever is called instead (`gpu compare`) may do with requests."""
    providers: dict[str, ProviderOptions] = {}
    """Options by provider, which checks its own; each value is a scalar or a tuple of scalars."""
    cache: Annotated[dict[str, Text], BeforeValidator(_without_empty)] = {}
    """By provider, name or id of the network volume that keeps the weights."""
    limits: RecipeLimits = RecipeLimits()

    _path: Path = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Validation is given the file's path as its context."""
        self._path = context

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self._path

    def digest(self) -> str:
        """Stands for everything that decides what a deployment is: two recipes that differ only in name or
        description, comments or order of keys have the same.
        """
        content = self.model_dump(by_alias=True, exclude={"name", "description"})
        # Keys that came after the first deployments count only where they are set: what runs keeps its digest.
        for key, default in _LATER_KEYS.items():
            if content[key] == default:
                del content[key]
        if content["limits"]["boot_deadline"] is None:
            del content["limits"]["boot_deadline"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @field_validator("revision")
    @classmethod
    def _revision_needs_a_hub(cls, revision: str | None, info: ValidationInfo) -> str | None:
        model = info.data.get("model")
        if revision and model and model.scheme not in (Scheme.HUGGING_FACE, Scheme.MODELSCOPE):
            raise ValueError(f"is for a model on a hub, and {model} is not on one")
        return revision
