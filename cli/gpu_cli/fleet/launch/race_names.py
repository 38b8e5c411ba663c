"""What those are called that race to become the deployment of a name (`race.py`)."""

import re
from collections.abc import Sequence

from gpu_cli.fleet.deployment import Deployment

_RACER = re.compile(r"-race-\d+\Z")


def racer_name(name: str, number: int) -> str:
    """Until it is known whether it is kept, as `name`."""
    return f"{name}-race-{number}"


def racers_for(name: str, live: Sequence[Deployment]) -> Sequence[Deployment]:
    """Those that race now to become the deployment of this name."""
    return [one for one in live if is_racer(one) and _RACER.sub("", one.name) == name]


def is_racer(deployment: Deployment) -> bool:
    """Whether it races, or has raced and was not kept."""
    return deployment.tied and _RACER.search(deployment.name) is not None
