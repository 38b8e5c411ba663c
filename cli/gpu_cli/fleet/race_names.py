"""What those are called that race to become the deployment of a name (`race.py`)."""

import re
from collections.abc import Sequence

from gpu_cli.fleet.deployment import Deployment


def racer_name(name: str, number: int) -> str:
    """Until it is known whether it is kept, as `name`."""
    return f"{name}-race-{number}"


def racers_for(name: str, live: Sequence[Deployment]) -> Sequence[Deployment]:
    """Those that race now to become the deployment of this name."""
    racing = re.compile(re.escape(name) + r"-race-\d+")
    return [deployment for deployment in live if deployment.tied and racing.fullmatch(deployment.name)]
