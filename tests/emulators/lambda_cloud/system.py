"""What else an emulated machine's system answers: `systemctl` and `cloud-init`."""

from typing import TYPE_CHECKING

from .calls import Call, Output, failed, said

if TYPE_CHECKING:
    from .linux_machine import LinuxMachine

NOT_ROOT = "Failed to restart docker.service: Interactive authentication required."
CRASHED = (
    "Job for docker.service failed because the control process exited with error code.\n"
    'See "systemctl status docker.service" and "journalctl -xeu docker.service" for details.'
)


def systemctl(machine: "LinuxMachine", call: Call) -> Output:
    """`restart docker`, and as much of `is-active docker`."""
    verb, *units = call.arguments or [""]
    if [unit.removesuffix(".service") for unit in units] != ["docker"] or verb not in ("restart", "is-active"):
        return failed(f"systemctl {' '.join(call.arguments)}: this is not emulated")
    if verb == "is-active":
        return said("active") if machine.docker.is_up else said("failed", 3)
    if not call.is_root:
        return failed(NOT_ROOT)
    with machine.lock:
        is_up = machine.docker.restart()
    return said("") if is_up else failed(CRASHED)


def cloud_init(call: Call) -> Output:
    """It has always done its work when somebody can ask."""
    if list(call.arguments[:1]) != ["status"]:
        return failed(f"cloud-init {' '.join(call.arguments)}: this is not emulated")
    return said("status: done")
