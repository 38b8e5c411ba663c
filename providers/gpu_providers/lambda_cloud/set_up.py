"""From a machine that was launched to one whose container runs, a short look at a time.

Each look logs in, and sees how far the machine has come by itself (`on_machine`). One that has nobody at work, because
it is new or because it was rebooted, gets the work handed over. So any process can do the next look, also several at
once, and it does not matter when one is killed.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu_providers.base import Boot, SshLogin
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest, ProviderError
from gpu_providers.lambda_cloud import on_machine
from gpu_providers.lambda_cloud.machines import Machine, Machines
from gpu_providers.lambda_cloud.parcel import LOOPBACK, addressed
from gpu_providers.lambda_cloud.ssh import HostKeyChanged, KeyRefused, NotUp, Ran, Session, connect, expected_keys

LOOK_S, GLANCE_S = 12.0, 5.0
"""What a look at a machine may take in all, and one at its container."""
KEY_PATIENCE_S = 180.0
"""For how long a server that answers may refuse our key: cloud-init comes to it late."""

FOLDER = ".gpu-machine"
SCRIPT = f"{FOLDER}/on_machine.py"
STATUS = f"python3 {SCRIPT} status"
RECEIVE = f"umask 077 && mkdir -p {FOLDER} && cat > {SCRIPT}.$$ && mv -f {SCRIPT}.$$ {SCRIPT}"
START = f"python3 {SCRIPT} start"
INSPECT = f"sudo -n docker inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' {on_machine.CONTAINER}"
CALLER = 'echo "$SSH_CONNECTION"'

RUNS = "the container runs"
PINNED = "{}: its SSH server did not have the host key that was made for it. The one that it showed first is trusted."
MISSING = "missing"
_ENDED = re.compile(r"(exited|dead) (-?\d+)")
_ERRORS: Mapping[str, tuple[type[ProviderError], str]] = {
    "request": (InvalidRequest, "check the engine's version in the recipe"),
    "command": (CommandCrashed, ""),
    "host": (HostFailed, ""),
}
"""By whose fault it is, with what to do about it."""


def boot(machines: Machines, machine: Machine, now: float, *, open_to: Callable[[str], None] | None = None) -> Boot:
    """As the contract's `boot`, for a machine that has an address; `now` in seconds since the epoch.

    `open_to` is told the address from which a public machine is reached, each time before anything is handed over.
    """
    if machine.service_url:
        return _running(machines, machine)
    try:
        with connect(login_to(machines, machine.name), timeout_s=LOOK_S) as session:
            machine = _met(machines, machine, now)
            return _look(machines, machine, session, open_to if machine.public else None)
    except HostKeyChanged as other:
        return _meet(machines, machine, other.presented, now)
    except NotUp as down:
        return _wait(machines, machine, down, now)


def container_end(machines: Machines, machine: Machine) -> str:
    """How it has ended, `exited (3)` or `missing`; empty for one that has not, or of which that cannot be told."""
    try:
        return _ended(machines, machine)
    except (HostKeyChanged, ProviderError):
        return ""


def caller_address(session: Session) -> str:
    """From where the machine is reached, as it sees that. Raises HostFailed when it does not say."""
    try:
        return str(ipaddress.IPv4Address(_answer(session.run(CALLER)).split()[0]))
    except (IndexError, ValueError):
        raise HostFailed("it does not tell from which IPv4 address it is reached") from None


def login_to(machines: Machines, name: str) -> SshLogin:
    """Raises NotUp as long as nobody knows where it is."""
    login = machines.login(name)
    if login is None:
        raise NotUp("it has no address yet")
    return login


def _running(machines: Machines, machine: Machine) -> Boot:
    """Raises CommandCrashed when its container has ended, and HostFailed when another machine answers."""
    try:
        ended = _ended(machines, machine)
    except HostKeyChanged:
        raise _changed() from None
    if ended:
        raise CommandCrashed(f"its container has ended: {ended}")
    return Boot(running=True, detail=RUNS, endpoint=machine.endpoint)


def _ended(machines: Machines, machine: Machine) -> str:
    """As `container_end`. Nothing but Docker's own words for an end is taken for one: it ends the machine, too."""
    try:
        with connect(login_to(machines, machine.name), timeout_s=GLANCE_S) as session:
            ran = session.run(INSPECT)
    except NotUp:
        return ""
    if ran.exit:
        return MISSING if on_machine.NO_CONTAINER.search(ran.stderr) else ""
    ended = _ENDED.fullmatch(_answer(ran))
    return f"{ended[1]} ({ended[2]})" if ended else ""


def _met(machines: Machines, machine: Machine, since: float) -> Machine:
    """Its SSH server has proved to be the one that is expected: from now on no other will do."""
    return machines.update(machine.name, met=True, refused_since=since)


def _meet(machines: Machines, machine: Machine, presented: str, now: float) -> Boot:
    """Trust the key that a machine shows at the first meeting. Raises HostFailed at any other.

    The one that was made for it will do all the same: cloud-init may come to planting it only later.
    """
    known = machines.get(machine.name)
    if known is None or known.met:
        raise _changed()
    machines.pin(machine.name, presented, *expected_keys(login_to(machines, machine.name)))
    _met(machines, known, now)
    return Boot(running=False, detail="booting: its SSH server answers", note=PINNED.format(machine.name))


def _changed() -> HostFailed:
    return HostFailed("its SSH host key has changed: somebody else may answer in its place, and was told nothing")


def _wait(machines: Machines, machine: Machine, down: NotUp, now: float) -> Boot:
    if down.verified:
        machine = _met(machines, machine, machine.refused_since or now)
    if isinstance(down, KeyRefused) and now - machine.refused_since >= KEY_PATIENCE_S:
        raise HostFailed(f"its SSH server has refused our key for {KEY_PATIENCE_S / 60:.0f} minutes")
    return Boot(running=False, detail=f"booting: {down.detail}")


def _look(machines: Machines, machine: Machine, session: Session, open_to: Callable[[str], None] | None) -> Boot:
    report = _report(session.run(STATUS))
    if not report.get("at_work") and report.get("stage") not in on_machine.FINAL:
        parcel = _parcel(machines, machine)
        if open_to:
            open_to(caller_address(session))
        report = _hand_over(session, parcel)
    return _boot(machines, machine, report)


def _report(ran: Ran) -> Mapping[str, Any]:
    """What the machine says of itself; empty where it was not handed anything over, or says nothing."""
    try:
        return dict(json.loads(_answer(ran)))
    except (TypeError, ValueError):
        return {}


def _parcel(machines: Machines, machine: Machine) -> bytes:
    parcel = machines.parcel(machine.name)
    if parcel is None:
        raise HostFailed("it does not know what to run, and on this side nobody does any more")
    return addressed(parcel, machine.instance_id)


def _hand_over(session: Session, parcel: bytes) -> Mapping[str, Any]:
    """Never in a command line, which others on the machine can read."""
    _do(session, RECEIVE, Path(on_machine.__file__).read_bytes())
    return _report(_do(session, START, parcel))


def _do(session: Session, command: str, stdin: bytes) -> Ran:
    ran = session.run(command, stdin)
    if ran.exit:
        why = ran.stderr.strip().rpartition("\n")[2] or f"exit status {ran.exit}"
        raise HostFailed(f"its set-up cannot begin on it: {why}")
    return ran


def _answer(ran: Ran) -> str:
    """What was asked for is in one line; a login shell may have said something of its own before."""
    return ran.stdout.strip().rpartition("\n")[2]


def _boot(machines: Machines, machine: Machine, report: Mapping[str, Any]) -> Boot:
    stage, detail = report.get("stage"), str(report.get("detail", "handing over what it is to run"))
    if stage == "failed":
        error, hint = _ERRORS[report["failed"]]
        raise error(detail, hint=hint)
    if stage != "up":
        return Boot(running=False, detail=detail)
    machines.drop_parcel(machine.name)
    machine = machines.update(machine.name, service_url=f"http://{LOOPBACK}:{report['port']}")
    return Boot(running=True, detail=RUNS, endpoint=machine.endpoint)
