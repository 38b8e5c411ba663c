"""What `docker` tells of itself and of images, on an emulated machine."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .calls import ERR, OUT, Call, Output, Printed, said
from .docker_daemon import DaemonError
from .docker_options import UsageError, told
from .templates import formatted

if TYPE_CHECKING:
    from .linux_machine import LinuxMachine

VERSION = "28.3.3"
FORMAT = "-f --format"
LAYERS = 5
ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}


def version(_: "LinuxMachine", call: Call) -> Output:
    document = {"Client": {"Version": VERSION}, "Server": {"Version": VERSION}}
    text = f"Client: Docker Engine - Community\n Version: {VERSION}\n\nServer:\n Version: {VERSION}"
    return _shown(told(call, values=[FORMAT]).format, document, text)


def info(machine: "LinuxMachine", call: Call) -> Output:
    with machine.lock:
        driver, runtimes = machine.docker.cgroup_driver, machine.docker.runtimes
    document = {"CgroupDriver": driver, "ServerVersion": VERSION, "Runtimes": {name: {} for name in runtimes}}
    text = f"Server:\n Runtimes: {' '.join(runtimes)}\n Cgroup Driver: {driver}"
    return _shown(told(call, values=[FORMAT]).format, document, text)


def _shown(template: str, document: Mapping[str, Any], text: str) -> Output:
    return said(formatted(template, document) if template else text)


def pull(machine: "LinuxMachine", call: Call) -> Output:
    (image,) = told(call, least_words=1).words
    yield from pulled(machine, image)
    yield OUT, f"docker.io/{image}\n"
    return 0


def pulled(machine: "LinuxMachine", image: str) -> Iterator[Printed]:
    """It is there afterwards; prints progress as Docker does where there is no terminal. Raises DaemonError."""
    with machine.lock:
        machine.docker.check_image(image)
        is_new = image not in machine.docker.images
    name, _, tag = image.partition(":")
    yield OUT, f"{tag or 'latest'}: Pulling from {name}\n"
    if is_new:
        yield from _layers(machine)
    with machine.lock:
        machine.docker.images.add(image)
    news = "Downloaded newer image" if is_new else "Image is up to date"
    yield OUT, f"Digest: sha256:{'a11ce':0>64}\nStatus: {news} for {image}\n"


def _layers(machine: "LinuxMachine") -> Iterator[Printed]:
    layers = [f"{number:012x}" for number in range(0xA11CE, 0xA11CE + LAYERS)]
    yield OUT, "".join(f"{layer}: Pulling fs layer\n" for layer in layers)
    for layer in layers:
        machine.wait(machine.pull_s / LAYERS)
        yield OUT, f"{layer}: Verifying Checksum\n{layer}: Download complete\n{layer}: Pull complete\n"


def image(machine: "LinuxMachine", call: Call) -> Output:
    """`docker image inspect`."""
    found = told(call, values=[FORMAT], least_words=2)
    what, name = found.words
    if what != "inspect":
        raise UsageError(f"docker image {what}: this is not emulated")
    with machine.lock:
        is_there = name in machine.docker.images
    if not is_there:
        yield OUT, "[]\n"
        raise DaemonError(f"No such image: {name}")
    document = {"RepoTags": [name], "Os": "linux", "Architecture": ARCHITECTURES[machine.architecture]}
    return (yield from _shown(found.format, document, json.dumps([document], indent=4)))


def pulled_for_run(machine: "LinuxMachine", image: str) -> Iterator[Printed]:
    """As `docker run` does it for an image that is not there."""
    if image in machine.docker.images:
        return
    yield ERR, f"Unable to find image '{image}' locally\n"
    yield from ((ERR, text) for _, text in pulled(machine, image))
