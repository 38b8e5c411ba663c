"""The containers of `docker` on an emulated machine.

Sources: the reference of Docker's command line, and moby/moby (a container whose start fails stays behind as `created`,
with its name; the id of one that is detached is printed once it runs).
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import process_tree
from ..container_log import CONTAINER, LogLine
from ..container_spec import ContainerSpec, State
from ..containers import Container
from .calls import ERR, OUT, Call, Output, Printed, said
from .docker_daemon import DaemonError, DockerContainer, NoProgram
from .docker_images import pulled_for_run
from .docker_options import run_options, told
from .templates import formatted

if TYPE_CHECKING:
    from .linux_machine import LinuxMachine

RUNNING = "container is running: stop the container before removing or force remove"
FOLLOWED_EVERY_S = 0.1
PYTHONS = ("python3", "python")


def run(machine: "LinuxMachine", call: Call) -> Output:
    options = run_options(call)
    yield from pulled_for_run(machine, options.image)
    with machine.lock:
        made = machine.docker.create(options)
    try:
        return (yield from _detached(machine, made) if options.detached else _in_front(machine, made))
    finally:
        if options.removed:
            with machine.lock:
                machine.remove(made)


def _detached(machine: "LinuxMachine", made: DockerContainer) -> Output:
    with machine.lock:
        machine.docker.check_start(made.options)
        machine.publish(made)
        made.container = machine.docker.start(container_spec(made, machine.host_path))
    made.container.started.wait()
    if made.container.start_error:
        raise NoProgram(made.options.entrypoint)
    yield OUT, f"{made.id}\n"
    return 0


def _in_front(machine: "LinuxMachine", made: DockerContainer) -> Output:
    """Of all programs only Python: it is what asks CUDA."""
    with machine.lock:
        machine.docker.check_start(made.options)
        python = machine.probing_python
    program, *arguments = [*filter(None, [made.options.entrypoint]), *made.options.command] or [""]
    if program not in PYTHONS:
        raise NoProgram(program)
    environ = {**made.options.env, process_tree.MARKER: str(machine.folder.path)}
    ran = subprocess.run([python, *arguments], env=environ, capture_output=True, text=True)
    yield OUT, ran.stdout
    yield ERR, ran.stderr
    return ran.returncode


def container_spec(made: DockerContainer, host_path: Callable[[str], str]) -> ContainerSpec:
    """What is to run; folders of the machine stay where they are, so their places in the container are rewritten."""
    options = made.options
    declared = [one.declared for one in options.published]
    places = {place: host_path(source) for source, place in options.mounts.items()}
    return ContainerSpec(
        id=made.name,
        image=options.image,
        entrypoint=[options.entrypoint] if options.entrypoint else (),
        cmd=[_placed(word, places) for word in options.command],
        env={name: _placed(value, places) for name, value in options.env.items()},
        port=declared[0] if declared else 0,
        restarts=False,
    )


def _placed(text: str, places: Mapping[str, str]) -> str:
    for place, folder in places.items():
        text = text.replace(place, folder)
    return text


def inspect(machine: "LinuxMachine", call: Call) -> Output:
    found = told(call, values=["-f --format"], least_words=1)
    (name,) = found.words
    with machine.lock:
        try:
            document = machine.docker.found(name).as_json()
        except DaemonError:
            raise DaemonError(f"No such object: {name}") from None
    return said(formatted(found.format, document) if found.format else json.dumps([document], indent=4))


def port(machine: "LinuxMachine", call: Call) -> Output:
    name, *wanted = told(call, least_words=1).words
    with machine.lock:
        ports = machine.docker.found(name).ports
    if not wanted:
        return said("\n".join(f"{declared} -> {_address(one)}" for declared, places in ports.items() for one in places))
    declared = wanted[0] if "/" in wanted[0] else f"{wanted[0]}/tcp"
    if declared not in ports:
        raise DaemonError(f"no public port '{declared}' published for {name}")
    return said("\n".join(map(_address, ports[declared])))


def _address(place: Mapping[str, str]) -> str:
    return f"{place['HostIp']}:{place['HostPort']}"


def logs(machine: "LinuxMachine", call: Call) -> Output:
    found = told(call, flags=["-f --follow"], values=["-n --tail"], least_words=1)
    (name,) = found.words
    with machine.lock:
        made = machine.docker.found(name)
    lines = made.container.log.lines() if made.container else ()
    texts = _texts(lines)
    left_out = len(texts) - int(found.tail) if found.tail.isdecimal() else 0
    yield from texts[max(0, left_out) :]
    if found.follow and made.container:
        yield from _followed(machine, made.container, lines)
    return 0


def _followed(machine: "LinuxMachine", container: Container, seen: Sequence[LogLine]) -> Iterator[Printed]:
    """What is logged after those lines, until it has ended."""
    lines, was_running = seen, True
    while not machine.stopping.is_set() and (lines or was_running):
        was_running = container.state() is State.RUNNING
        seen = lines or seen
        lines = container.log.lines(after=seen[-1].number if seen else 0, wait_s=FOLLOWED_EVERY_S)
        yield from _texts(lines)


def _texts(lines: Sequence[LogLine]) -> list[Printed]:
    """What the command itself has printed."""
    return [(OUT, f"{line.line}\n") for line in lines if line.source == CONTAINER]


def ps(machine: "LinuxMachine", call: Call) -> Output:
    found = told(call, flags=["-a --all"], values=["--format"])
    with machine.lock:
        shown = [one for one in machine.docker.containers if found.all or one.status == "running"]
        rows = [_row(one) for one in shown]
    if found.format:
        return said("\n".join(formatted(found.format, row) for row in rows))
    return said("\n".join(["CONTAINER ID   IMAGE   STATUS   NAMES", *("   ".join(row.values()) for row in rows)]))


def _row(one: DockerContainer) -> dict[str, str]:
    status = {"running": "Up", "exited": f"Exited ({one.exit_code})", "created": "Created"}[one.status]
    return {"ID": one.id[:12], "Image": one.options.image, "Status": status, "Names": one.name}


def rm(machine: "LinuxMachine", call: Call) -> Output:
    found = told(call, flags=["-f --force"], least_words=1)
    for name in found.words:
        with machine.lock:
            _remove(machine, name, found.force)
        yield OUT, f"{name}\n"
    return 0


def _remove(machine: "LinuxMachine", name: str, is_forced: bool) -> None:
    """By force also one that runs, or that there is not."""
    made = machine.docker.known(name)
    if made is None and not is_forced:
        raise DaemonError(f"No such container: {name}")
    if made and made.status == "running" and not is_forced:
        raise DaemonError(f'cannot remove container "/{made.name}": {RUNNING}')
    if made:
        machine.remove(made)
