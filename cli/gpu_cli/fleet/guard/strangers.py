"""What the guard has seen at the clouds that is on no record of this machine, for commands that ask no cloud."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gpu_cli.fleet.fleet import Fleet
from gpu_cli.state_files import PrivateFiles

_FILE = "strangers.json"


@dataclass(frozen=True)
class Stranger:
    """Something of ours that no record here knows."""

    resource_name: str
    provider: str


class Strangers(PrivateFiles):
    """Those that the last sweep has found."""

    def keep(self, found: Sequence[Stranger]) -> None:
        """Raises UserError when they cannot be kept."""
        self._write(_FILE, json.dumps([asdict(one) for one in found]))

    def read(self) -> Sequence[Stranger]:
        """None where nothing can be read: the next sweep finds them again."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return [Stranger(**each) for each in json.loads(self.path(_FILE).read_text())]
        return []


def strangers_of(fleet: Fleet) -> Strangers:
    """As this machine keeps them."""
    return Strangers(fleet.paths.state / "strangers")


def strangers(fleet: Fleet) -> Sequence[Stranger]:
    """Those that have not been put on record since."""
    return [one for one in strangers_of(fleet).read() if not _is_on_record(fleet, one)]


def _is_on_record(fleet: Fleet, one: Stranger) -> bool:
    return bool(fleet.store.rows("SELECT 1 FROM deployments WHERE resource_name = ?", one.resource_name))
