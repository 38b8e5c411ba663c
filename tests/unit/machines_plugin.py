"""A provider of whole machines as a plug-in, for programs that a test starts: it knows how to log in, and no more.

It is found by name, `machines`, once `install` has put it on the import path of this process and of its children.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fleets import Cloud

from gpu_providers.base import Link, ProviderContext, SshLogin

if TYPE_CHECKING:
    import pytest  # for programs it would take longer to load than all else

LOGINS = "GPU_MACHINES_LOGINS"
"""The variable that tells the folder of the logins, by resource name."""


class Machines(Cloud):
    """Its machines are never asked for: what is on record has no resource id."""

    name = "machines"
    link = Link.SSH

    def __init__(self, context: ProviderContext) -> None:
        super().__init__()
        self.context = context

    def ssh(self, name: str) -> SshLogin | None:
        path = Path(self.context.environ[LOGINS], name)
        if not path.is_file():
            return None
        told = json.loads(path.read_text())
        return SshLogin(**{**told, "identity": Path(told["identity"]), "known_hosts": Path(told["known_hosts"])})


def install(folder: Path, monkeypatch: "pytest.MonkeyPatch") -> None:
    """For this test."""
    metadata = folder / "gpu_machines-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gpu-machines\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[gpu_providers]\nmachines = machines_plugin:Machines\n")
    monkeypatch.syspath_prepend(folder)
    here = (str(folder), str(Path(__file__).parent), str(Path(__file__).parent.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(here))
    monkeypatch.setenv(LOGINS, str(folder))


def know(folder: Path, name: str, login: SshLogin) -> None:
    """From now on this is how one logs in to the machine of this name."""
    (folder / name).write_text(json.dumps(asdict(login), default=str))
