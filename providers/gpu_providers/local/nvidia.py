"""NVIDIA cards as `nvidia-smi` reports them."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_TIMEOUT_S = 20.0
"""Without the persistence daemon the driver first wakes every card, which takes seconds."""


@dataclass(frozen=True)
class Card:
    """One card: the driver's name for it, and its memory."""

    name: str
    memory_gib: float


@dataclass(frozen=True)
class Cards:
    """The cards that a process started here can use, in the driver's order; `trouble` says why there are none."""

    cards: Sequence[Card] = ()
    trouble: str = ""


def cards(environ: Mapping[str, str]) -> Cards:
    """Ask the `nvidia-smi` on PATH. A machine without one has no cards and no trouble; never raises."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))
    if program is None:
        return Cards()
    try:
        # bytes: a broken program may print anything
        answer = subprocess.run((program, *_QUERY), capture_output=True, timeout=_TIMEOUT_S, env=dict(environ))
    except subprocess.TimeoutExpired:
        return Cards(trouble=f"nvidia-smi gave no answer within {_TIMEOUT_S:.0f} s")
    except OSError as error:
        return Cards(trouble=f"nvidia-smi cannot be run: {error.strerror}")
    text = answer.stdout.decode(errors="replace")
    if answer.returncode != 0:
        told = (text or answer.stderr.decode(errors="replace")).strip().splitlines()
        return Cards(trouble=f"nvidia-smi failed with exit {answer.returncode}: {told[0] if told else 'no output'}")
    try:
        found = tuple(_parse(line) for line in text.splitlines() if line.strip())
    except ValueError:
        return Cards(trouble="nvidia-smi gave an answer that is not understood")
    return Cards(_visible(found, environ.get("CUDA_VISIBLE_DEVICES")))


def _parse(line: str) -> Card:
    """`NVIDIA L4, 23034`: the memory is in MiB."""
    name, memory_mib = line.rsplit(",", 1)
    memory_gib = int(memory_mib) / 1024
    if not name.strip() or memory_gib <= 0:
        raise ValueError(line)
    return Card(name.strip(), memory_gib)


def _visible(found: Sequence[Card], devices: str | None) -> Sequence[Card]:
    """What CUDA_VISIBLE_DEVICES leaves of them. As in CUDA, the first index that does not exist ends the list.

    Cards chosen by UUID are not offered: which card that is cannot be told from this query.
    """
    if devices is None:
        return found
    chosen: list[Card] = []
    for device in devices.split(","):
        if not device.strip().isdecimal() or int(device) >= len(found):
            break
        chosen.append(found[int(device)])
    return chosen
