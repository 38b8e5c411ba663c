"""The `lambda` section of a recipe."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_providers.base import Volume
from gpu_providers.errors import InvalidRequest
from gpu_providers.section import Section

_KNOWN = ("regions", "image_family", "ssh_key", "on_node_key")
_REGION = re.compile(r"[A-Z]+(-[A-Z0-9]+)+")
_FAMILY = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Options:
    """What a recipe may say about Lambda; the defaults are what it gets that says nothing."""

    regions: tuple[str, ...] = ()
    """As Lambda names them, `us-east-1`; empty for anywhere."""
    image_family: str = "lambda-stack-24-04"
    """What the machine boots: with the driver, Docker and NVIDIA's container toolkit. Lambda's own default is a release
    older."""
    ssh_key: Path | None = None
    """The user's own private key, instead of one that is made for the account; absolute."""
    on_node_key: bool = False
    """The machine gets the API key, so that it can end itself. Whoever breaks into it can then do anything in the
    account: a key of Lambda's has no scopes (docs.lambda.ai, access and security)."""


def parse_options(options: Mapping[str, object]) -> Options:
    """Raises InvalidRequest for a key that is not known and for a value that makes no sense. Reads no file."""
    section = Section("lambda", options)
    section.check_known(_KNOWN)
    regions = section.codes("regions", _REGION, hint="give a list of regions, such as [us-east-1, us-west-2]")
    return Options(
        regions=tuple(region.lower() for region in regions),
        image_family=_image_family(section),
        ssh_key=_ssh_key(section),
        on_node_key=section.flag("on_node_key", default=False),
    )


def regions_of(options: Options, volume: Volume | None) -> Sequence[str]:
    """The only regions that will do; empty for any. A filesystem can be mounted only where it is."""
    if not volume:
        return options.regions
    if options.regions and volume.region not in options.regions:
        raise InvalidRequest(
            f"the filesystem {volume.name} is in {volume.region}, which the recipe's regions leave out",
            hint="leave `regions` out: a filesystem decides where its machine is",
        )
    return (volume.region,)


def _image_family(section: Section) -> str:
    if "image_family" not in section.said:
        return Options.image_family
    hint = f"give the family of one of Lambda's images, such as {Options.image_family}"
    family = section.text("image_family", hint=hint)
    if not _FAMILY.fullmatch(family):
        raise section.refused("image_family", hint)
    return family


def _ssh_key(section: Section) -> Path | None:
    """Absolute: whatever keeps the connection may run in another folder."""
    if "ssh_key" not in section.said:
        return None
    hint = "give the path of a private key from the root or from ~, such as ~/.ssh/id_ed25519"
    text = section.text("ssh_key", hint=hint)
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # the home of somebody who is none
        raise section.refused("ssh_key", hint) from None
    if not path.is_absolute() or path.suffix == ".pub":
        raise section.refused("ssh_key", hint)
    return path
