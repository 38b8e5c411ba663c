"""The layout of Hugging Face's cache: where huggingface_hub looks for the files of a model, here and on a volume.

    HUB/models--ORG--NAME/refs/REVISION             the commit that the revision stands for
    HUB/models--ORG--NAME/snapshots/COMMIT/FILE     the files of that commit

huggingface_hub makes the files of a snapshot links to blobs, and takes plain files just as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VOLUME_HOME = "huggingface"
"""What HF_HOME is on a volume, below the folder where that is mounted."""
HUB_FOLDER = f"{VOLUME_HOME}/hub"


@dataclass(frozen=True)
class HubLayout:
    """One commit of a model; all paths are relative to the hub's folder."""

    model: str
    commit: str

    @property
    def folder(self) -> str:
        """Of everything about the model."""
        return f"models--{self.model.replace('/', '--')}"

    def file(self, name: str) -> str:
        """Where the commit's file of this name lies."""
        return f"{self.folder}/snapshots/{self.commit}/{name}"

    def ref(self, revision: str) -> str:
        """Where it says which commit the branch or tag stands for."""
        return f"{self.folder}/refs/{revision}"


def local_hub(environ: Mapping[str, str]) -> Path:
    """The hub's folder on this machine; it need not exist."""
    if said := environ.get("HF_HUB_CACHE"):
        return Path(said).expanduser()
    home = environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"
