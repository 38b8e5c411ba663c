"""How what we make at RunPod is told from what others do: it keeps nothing of ours but its name and its environment.

So the environment carries the labels, and a variable with the name itself: a thing is ours when the two agree.
"""

from collections.abc import Mapping

from gpu_providers.base import RESOURCE_PREFIX, LaunchRequest
from gpu_providers.errors import ProviderUnavailable
from gpu_providers.values import Json, amount, mark, part

_NAME = "GPU_RESOURCE"
_LABEL = "GPU_LABEL_"
_ASKED_PRICE = "GPU_ASKED_USD_PER_HOUR"


def environment(request: LaunchRequest) -> Mapping[str, str]:
    """All that the launch puts there: what it asks for, its secrets and our marks."""
    return {
        **request.env,
        **{name: secret.reveal() for name, secret in request.secret_env.items()},
        **{f"{_LABEL}{name.upper()}": value for name, value in request.labels.items()},
        _NAME: request.name,
        _ASKED_PRICE: str(request.offer.price_usd_per_hour),
    }


def name_of(thing: Json) -> str:
    """The name that we gave it, or nothing when it is not ours. Somebody's pod called gpu-something is not."""
    env = mark(thing, "env", Mapping) or {}
    ours = env.get(_NAME, "")
    if not isinstance(ours, str):
        raise ProviderUnavailable(f"RunPod shows a {_NAME} that is no text", hint="try again later")
    return ours if ours.startswith(RESOURCE_PREFIX) and _shown_name(thing) in ("", ours) else ""


def is_named(thing: Json, name: str) -> bool:
    """Whether it is ours and of this name; where RunPod does not show its environment, the name alone decides.

    A name that we gave was given once: not to know it again would leave the thing running.
    """
    return name_of(thing) == name or (thing.get("env") is None and _shown_name(thing) == name)


def labels(thing: Json) -> Mapping[str, str]:
    """As they were given, their names in small letters."""
    env = part(thing, "env")
    return {name.removeprefix(_LABEL).lower(): str(env[name]) for name in env if name.startswith(_LABEL)}


def asked_price_usd_per_hour(thing: Json) -> float:
    """What the offer said; 0 where that is not known."""
    return amount(part(thing, "env").get(_ASKED_PRICE)) or 0.0


def _shown_name(thing: Json) -> str:
    """RunPod has been seen to put ` -fb` behind the names of endpoints with FlashBoot."""
    return (mark(thing, "name", str) or "").removesuffix(" -fb")
