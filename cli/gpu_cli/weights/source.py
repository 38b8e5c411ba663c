"""How a recipe names a place that weights come from."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Scheme(StrEnum):
    """The kinds of place; the value is the prefix with which a recipe names it."""

    HUGGING_FACE = "hf"
    MODELSCOPE = "modelscope"
    S3 = "s3"
    PYPI = "pypi"
    PATH = "path"


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PYPI_PIN = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.+!-]+")


@dataclass(frozen=True)
class Source:
    """One place; `location` is the hub id, `bucket/prefix`, `distribution==version` or path."""

    scheme: Scheme
    location: str

    def __str__(self) -> str:
        return self.location if self.scheme is Scheme.PATH else f"{self.scheme}://{self.location}"

    @classmethod
    def parse(cls, text: str) -> "Source":
        """From `ORG/MODEL` or `hf://…`, `modelscope://ORG/MODEL`, `s3://BUCKET/PREFIX`, `pypi://NAME==VERSION`, or a
        path that begins with `/`, `./`, `../` or `~`. Raises ValueError with the reason for anything else.
        """
        if text.startswith(("/", "./", "../", "~")):
            return cls(Scheme.PATH, text)
        prefix, separator, location = text.partition("://")
        if not separator:
            prefix, location = "hf", text
        try:
            scheme = Scheme(prefix)
        except ValueError:
            known = ", ".join(f"{scheme}://" for scheme in Scheme if scheme is not Scheme.PATH)
            raise ValueError(f"unknown place {prefix}://; known are {known} and a path") from None
        if scheme in (Scheme.HUGGING_FACE, Scheme.MODELSCOPE) and not _HUB_ID.fullmatch(location):
            raise ValueError(f"{text!r} is no model id; it looks like ORG/MODEL")
        if scheme is Scheme.PYPI and not _PYPI_PIN.fullmatch(location):
            raise ValueError(f"{text!r} must name one release: pypi://NAME==VERSION")
        if scheme is Scheme.PATH or not location.strip("/"):
            raise ValueError(f"{text!r} names no place")
        return cls(scheme, location)
