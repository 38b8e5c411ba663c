"""Modal's prices by the hour: as Modal tells them to the account, or as it listed them on a known day."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING

from gpu_providers.values import Json, moment, number, part, text

if TYPE_CHECKING:  # the price list alone is read by commands that ask nobody
    from gpu_providers.modal_cloud.session import Session

CPU, MEMORY = "cpu_hour_cost", "mem_gib_hour_cost"
"""Of a physical core, and of a GiB."""
FRESH = timedelta(days=1)
"""For so long Modal is not asked again."""
_FILE = "rates.json"


@dataclass(frozen=True)
class Rates:
    """What an hour costs."""

    usd_per_hour: Mapping[str, float]
    """Of one GPU (`cards.rate_key`), physical core or GiB of memory, by Modal's own names."""
    as_of: datetime


LISTED = Rates(
    {
        "gpu_hour_cost_t4": 0.59,
        "gpu_hour_cost_l4": 0.80,
        "gpu_hour_cost_a10g": 1.10,
        "gpu_hour_cost_l40s": 1.95,
        "gpu_hour_cost_a100_40gb": 2.10,
        "gpu_hour_cost_a100_80gb": 2.50,
        "gpu_hour_cost_rtx6000": 3.03,
        "gpu_hour_cost_h100": 3.95,
        "gpu_hour_cost_h200": 4.54,
        "gpu_hour_cost_b200": 6.25,
        "gpu_hour_cost_b300": 7.10,
        CPU: 0.0473,
        MEMORY: 0.008,
    },
    datetime(2026, 9, 29, tzinfo=UTC),
)
"""What `Workspace.billing.rates()` told several accounts from August to that day, as they published it; an hour of what
modal.com/pricing asks for a second."""


def rates(session: "Session", state_dir: Path, now: datetime) -> Rates:
    """What the account pays; LISTED where Modal does not tell it that. Kept in `state_dir` for a day.

    Raises NoCredentials without any, AuthError for refused ones, ProviderUnavailable.
    """
    account, file = session.account(), state_dir / _FILE
    if kept := _kept(file, account, now):
        return kept
    told = _told(session, now)
    _keep(file, account, told, now)
    return told


def _told(session: "Session", now: datetime) -> Rates:
    """Billing is not for every role, and not for every plan; no such right is no reason to sell nothing."""
    with session.call("tell its prices") as client:
        import modal

        try:
            said = modal.Workspace.from_context(client=client).billing.rates()
        except (modal.exception.PermissionDeniedError, modal.exception.UnimplementedError):
            return LISTED
        return _read(said, now) or LISTED


def _read(said: Mapping[str, object], as_of: datetime) -> Rates | None:
    """Of the prices, those that can be; None without that of a core or of memory, which every container has."""
    prices = {name: number(str(value)) for name, value in said.items()}
    usd_per_hour = {name: usd for name, usd in prices.items() if usd is not None and usd >= 0}
    return Rates(usd_per_hour, as_of) if usd_per_hour.keys() >= {CPU, MEMORY} else None


def _kept(file: Path, account: str, now: datetime) -> Rates | None:
    """What was told to this account within FRESH; what cannot be read is as if it had not been kept."""
    document = _document(file)
    asked_at, as_of = moment(document.get("asked_at")), moment(document.get("as_of"))
    if text(document, "account") != account or asked_at is None or as_of is None:
        return None
    return _read(part(document, "usd_per_hour"), as_of) if timedelta(0) <= now - asked_at <= FRESH else None


def _document(file: Path) -> Json:
    with suppress(OSError, ValueError):
        document = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(document, dict):
            return document
    return {}


def _keep(file: Path, account: str, told: Rates, now: datetime) -> None:
    """So that a reader finds the old ones or the new ones, never half of either."""
    document = {
        "account": account,
        "asked_at": now.isoformat(),
        "as_of": told.as_of.isoformat(),
        "usd_per_hour": dict(told.usd_per_hour),
    }
    temporary = file.with_suffix(f".{os.getpid()}-{get_ident()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document), encoding="utf-8")
        temporary.replace(file)
