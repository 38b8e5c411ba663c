"""The files of one commit of a model, in pieces: from this machine's cache, else from Hugging Face."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.models.checkpoint import parse_document
from gpu_cli.models.hub import COMMIT, Hub
from gpu_cli.models.hub_refusals import HubUnreachable, NoSuchModel, check
from gpu_cli.weights.hub_cache import HubLayout

if TYPE_CHECKING:
    import httpx

TRIES = 6
"""For one piece; each goes on where the one before it broke off."""
PAUSE_S = 1.0
"""Before the second try; twice as long before each further one."""
_LISTING_BYTES = 100_000_000
_TRY_AGAIN = "run it again: what has arrived is kept; HF_ENDPOINT can name a mirror"


@dataclass(frozen=True)
class HubFiles:
    """One commit of a model; safe to use from several threads."""

    hub: Hub
    layout: HubLayout
    sizes: Mapping[str, int]
    """Bytes of each file."""
    cache: Path
    """The hub's folder on this machine."""

    @classmethod
    def at(cls, hub: Hub, model: str, revision: str, cache: Path) -> "HubFiles":
        """The model as it is now at a branch, tag or commit. Raises UserError."""
        path = f"api/models/{model}/revision/{quote(revision, safe='')}?blobs=true"
        try:
            answer = parse_document(hub.read(model, path, _LISTING_BYTES), f"what {hub.url} says of {model}")
        except (NoSuchModel, FileNotFoundError):
            message = f"Hugging Face knows no model {model}, or does not show it to you"
            raise UserError(Exit.BAD_INPUT, "no-such-model", message, hint="for a private one set HF_TOKEN") from None
        except HubUnreachable as error:
            raise _unreachable(error.message) from None
        try:
            sizes = {_safe(file["rfilename"]): int(file["size"]) for file in answer["siblings"]}
            return cls(hub, HubLayout(model, _commit(answer["sha"])), sizes, cache)
        except (KeyError, TypeError, ValueError):
            raise _unreachable(f"what {hub.url} says of {model} has no commit and sizes") from None

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of the file from `offset` on. Raises UserError."""
        if not size:
            return b""
        try:
            return self._kept(name, offset, size) or self._download(name, offset, size)
        except (FileNotFoundError, NoSuchModel):
            raise _unreachable(f"{self.hub.url} does not have {name} of {self.layout.model} any more") from None

    def _kept(self, name: str, offset: int, size: int) -> bytes:
        """Nothing where this machine does not have all of the file."""
        with suppress(OSError), (self.cache / self.layout.file(name)).open("rb") as file:
            if os.fstat(file.fileno()).st_size == self.sizes[name]:
                file.seek(offset)
                return file.read(size)
        return b""

    def _download(self, name: str, offset: int, size: int) -> bytes:
        import httpx

        found, why = bytearray(), ""
        for pause_s in (0.0, *(PAUSE_S * 2**again for again in range(TRIES - 1))):
            time.sleep(pause_s)
            try:
                for chunk in self._stream(name, offset + len(found), size - len(found)):
                    found += chunk
                if len(found) == size:
                    return bytes(found)
                why = f"{len(found)} of {size} bytes came"
            except (httpx.TransportError, HubUnreachable) as error:
                why = str(error) or type(error).__name__
        raise _unreachable(f"{name} of {self.layout.model} did not arrive from {self.hub.url}: {why}")

    def _stream(self, name: str, offset: int, size: int) -> Iterator[bytes]:
        url = f"{self.hub.url}/{self.layout.model}/resolve/{self.layout.commit}/{quote(name)}"
        headers = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        with self.hub.client.stream("GET", url, headers=headers) as response:
            check(response, self.hub.url, self.layout.model)
            _check_range(response, self.hub.url, offset, self.sizes[name] == size)
            yield from response.iter_bytes()


def _check_range(response: "httpx.Response", url: str, offset: int, whole: bool) -> None:
    """A server that minds no ranges sends the whole file, which will do only where all of it was asked for."""
    expected = f"bytes {offset}-"
    if not whole and not response.headers.get("Content-Range", "").startswith(expected):
        raise HubUnreachable(url, "it does not give parts of files")


def _commit(text: str) -> str:
    if not COMMIT.fullmatch(text):
        raise ValueError(f"{text} is no commit")
    return text


def _safe(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name} leads out of its folder")
    return name


def _unreachable(message: str) -> UserError:
    return UserError(Exit.LAUNCH_FAILED, "hub-unreachable", message, hint=_TRY_AGAIN)
