"""What this side knows of the machines that it has launched: how to log in, whom to expect there, what is to run.

All that is asked of a machine by its resource's name alone is answered from here, by any process of this user.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from threading import get_ident
from typing import Any
from urllib.parse import urlsplit

from gpu_providers.base import RESOURCE_PREFIX, Secret, SshLogin
from gpu_providers.errors import InvalidRequest, ProviderError, ProviderUnavailable
from gpu_providers.names import check_name

_MACHINE, _KNOWN_HOSTS, _PARCEL, _LOCK = "machine.json", "known_hosts", "parcel.json", "lock"


@dataclass(frozen=True)
class Machine:
    """One machine, by the name of its resource."""

    name: str
    identity: Path
    """The private key with which one logs in."""
    user: str
    port: int
    """Of its SSH server."""
    gpu_count: int
    architecture: str
    """As the offer said: `x86_64` or `arm64`."""
    service_port: int = 8000
    """Of its engine."""
    public: bool = False
    """Its engine is to be reached from outside."""
    ruleset_id: str = ""
    """The firewall ruleset that was made for it; empty for none."""
    instance_id: str = ""
    """Lambda's; empty until that is known."""
    address: str = ""
    """Of its SSH server; empty until Lambda has told it."""
    met: bool = False
    """Somebody has logged in: its host key was seen, and is pinned."""
    refused_since: float = 0.0
    """When its SSH server last let us in, or else first answered, seconds since the epoch: should it refuse our key, it
    has done so since then. 0 as long as it has not answered."""
    service_url: str = ""
    """Root URL of its engine as the machine itself sees it; empty until the container runs."""

    @property
    def endpoint(self) -> str:
        """Root URL of its engine: from outside where it is public, else as the machine itself sees it."""
        if self.public and self.service_url:
            return f"http://{self.address}:{urlsplit(self.service_url).port}"
        return self.service_url


class Machines:
    """A folder of machines, safe to share between threads and processes. Only this user can read what is in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, machine: Machine, host_key: str, parcel: Secret) -> None:
        """Keep all that takes to set up a machine, before there is one.

        `host_key` is the public key that its SSH server will have, in OpenSSH's format.
        """
        own = self._own(machine.name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own.mkdir(mode=0o700, exist_ok=True)
        self.pin(machine.name, host_key)
        _write(own / _PARCEL, parcel.reveal())
        _write(own / _MACHINE, _document(machine))

    def names(self) -> set[str]:
        """Of all that something is kept of."""
        return {path.name for path in self._folder.glob(f"{RESOURCE_PREFIX}*")}

    def get(self, name: str) -> Machine | None:
        """None for one that nothing is known of."""
        with suppress(OSError, ValueError, InvalidRequest):
            return _machine(json.loads((self._own(name) / _MACHINE).read_text(encoding="utf-8")))
        return None

    def update(self, name: str, **changes: Any) -> Machine:
        """Keep these fields of it, and no others than were known.

        Raises ProviderUnavailable for a machine that was forgotten: whoever ended it knows more.
        """
        with self._locked(name) as own:
            known = self.get(name)
            if known is None:
                raise _forgotten(name)
            changed = replace(known, **changes)
            if changed != known:
                _write(own / _MACHINE, _document(changed))
        return changed

    def known_hosts(self, name: str) -> Path:
        """The file with the only host keys that will do, under the machine's name."""
        return self._own(name) / _KNOWN_HOSTS

    def pin(self, name: str, *host_keys: str) -> None:
        """From now on only these host keys will do. Raises ProviderUnavailable as `update`."""
        lines = [" ".join([name, *host_key.split()[:2]]) + "\n" for host_key in host_keys]
        with self._locked(name) as own:
            _write(own / _KNOWN_HOSTS, "".join(lines))

    def parcel(self, name: str) -> Secret | None:
        """What it is to run; None once it has it."""
        with suppress(OSError, InvalidRequest):
            return Secret((self._own(name) / _PARCEL).read_text(encoding="utf-8"))
        return None

    def drop_parcel(self, name: str) -> None:
        """The machine has it."""
        (self._own(name) / _PARCEL).unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """Delete all that is known of it. Never raises."""
        with suppress(OSError, ProviderError), self._locked(name) as own:
            shutil.rmtree(own)

    def login(self, name: str) -> SshLogin | None:
        """None as long as nobody knows where it is."""
        machine = self.get(name)
        if machine is None or not machine.address:
            return None
        known_hosts = self.known_hosts(name)
        return SshLogin(machine.address, machine.port, machine.user, machine.identity, known_hosts, alias=name)

    def _own(self, name: str) -> Path:
        """Raises InvalidRequest for what cannot be the name of a resource of ours: it becomes part of a path."""
        check_name(name)
        return self._folder / name

    @contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        """Its folder, which nobody else changes meanwhile."""
        own = self._own(name)
        try:
            with os.fdopen(os.open(own / _LOCK, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield own
        except FileNotFoundError:  # also when it was deleted while this waited for the lock
            raise _forgotten(name) from None


def _forgotten(name: str) -> ProviderUnavailable:
    return ProviderUnavailable(f"nothing is known here of a machine {name}, so nobody can log in to it")


def _machine(document: Mapping[str, Any]) -> Machine | None:
    """None for what another version of this wrote, and this one cannot read."""
    known = {field.name for field in fields(Machine)}
    try:
        said = {name: value for name, value in document.items() if name in known}
        return Machine(**{**said, "identity": Path(said["identity"])})
    except (AttributeError, KeyError, TypeError):
        return None


def _document(machine: Machine) -> str:
    return json.dumps({**asdict(machine), "identity": str(machine.identity)}, indent=2)


def _write(path: Path, text: str) -> None:
    """So that a reader finds the old text or the new one, and only this user finds any."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
