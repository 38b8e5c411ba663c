"""What is written down about a resource, in its folder. Never a secret: anyone who reads backups may read it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gpu_providers.local.client import Process

_VERSION = 1
_FILE = "resource.json"


@dataclass(frozen=True)
class Record:
    """The journal of one resource. `process` is None from before the start until the pid is known."""

    labels: Mapping[str, str]
    offer_id: str
    gpu: str
    gpu_count: int
    price_usd_per_hour: float
    endpoint: str
    created_at: datetime
    process: Process | None = None


def save(folder: Path, record: Record) -> None:
    """Write it so that a reader finds the old one or the new one, never half of one. Raises OSError."""
    document = {"version": _VERSION, **asdict(record), "created_at": record.created_at.isoformat()}
    temporary = folder / f"{_FILE}.new"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / _FILE)


def load(folder: Path) -> Record | None:
    """The record of this folder; None when there is none, or none that is understood."""
    try:
        return _parse(json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _parse(document: Any) -> Record:
    if document["version"] != _VERSION:
        raise ValueError(document["version"])
    process = document["process"]
    return Record(
        labels={str(key): str(value) for key, value in document["labels"].items()},
        offer_id=str(document["offer_id"]),
        gpu=str(document["gpu"]),
        gpu_count=int(document["gpu_count"]),
        price_usd_per_hour=float(document["price_usd_per_hour"]),
        endpoint=str(document["endpoint"]),
        created_at=datetime.fromisoformat(document["created_at"]),
        process=Process(int(process["pid"]), float(process["created_s"])) if process else None,
    )


def last_used_s(folder: Path) -> float:
    """When the newest thing in the folder was written, in seconds since the epoch. Raises OSError when it is gone."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
