"""What weights are on this machine already: which place and revision they came from, and where they are.

The weights themselves may be in a hub's own cache, which other programs use and clean; so an entry is believed only
while every file of it is there at its size.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from gpu_cli.weights.source import Scheme, Source

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "tekken.json")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
_SHARDS = "model.safetensors.index.json"


@dataclass(frozen=True)
class Weights:
    """A folder that the engine can load; `note` says, in one line for people, what is special about it."""

    path: Path
    source: Source
    note: str


@dataclass(frozen=True)
class Kept:
    """The index in the cache folder: one small file for each place and revision."""

    folder: Path

    def find(self, source: Source, revision: str | None) -> Weights | None:
        """What was kept of it, if all of it is still there."""
        try:
            entry = json.loads(self.entry(source, revision).read_text(encoding="utf-8"))
            path, sizes = Path(entry["path"]), dict(entry["sizes"])
            if sizes != _sizes(path):
                return None
            return Weights(path, source, str(entry["note"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, weights: Weights, revision: str | None) -> None:
        """Remember it. At any moment the entry is the old one or the new one."""
        entry = self.entry(weights.source, revision)
        document = {
            "source": str(weights.source),
            "revision": revision,
            "path": str(weights.path.resolve()),  # links on the way there may not outlive the weights
            "note": weights.note,
            "sizes": _sizes(weights.path),
        }
        entry.parent.mkdir(parents=True, exist_ok=True)
        unfinished = entry.with_suffix(".new")
        unfinished.write_text(json.dumps(document, indent=2), encoding="utf-8")
        unfinished.replace(entry)

    def entry(self, source: Source, revision: str | None) -> Path:
        """The file of this place and revision."""
        name = f"{source}@{revision or ''}"
        return self.folder / f"{source.scheme}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def local_weights(source: Source) -> Weights | None:
    """The weights of a path on this machine, if it is a model's folder."""
    path = Path(source.location).expanduser().absolute()
    if source.scheme is not Scheme.PATH or not (path / "config.json").is_file():
        return None
    return Weights(path, source, "")


def missing_of(model: Path) -> str:
    """What a fetched folder lacks to be loaded, in words; empty when nothing."""
    if not (model / "config.json").is_file():
        return "config.json"
    if not any((model / name).is_file() for name in _TOKENIZERS):
        return "a tokenizer"
    if (model / _SHARDS).is_file():
        shards = json.loads((model / _SHARDS).read_text(encoding="utf-8")).get("weight_map", {}).values()
        return next((shard for shard in sorted(set(shards)) if not (model / shard).is_file()), "")
    return "" if any(any(model.glob(pattern)) for pattern in _WEIGHTS) else "weights"


def _sizes(model: Path) -> dict[str, int]:
    """Of what lies at the top of the folder, where all that is loaded lies; links count as what they point to."""
    return {path.name: path.stat().st_size for path in sorted(model.iterdir()) if path.is_file()}
