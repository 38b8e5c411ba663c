"""Durations and money as people write them: seconds and US dollars inside the program."""

import math
import re

MIN_DURATION_S = 0.001
MAX_DURATION_S = 365 * 86_400.0
MAX_USD = 1_000_000.0

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,3})?)s)?", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds, from `90s`, `15m`, `2h`, `1d`, `1h30m` or a plain number of seconds.

    Raises ValueError for anything else, and for what is shorter than a millisecond or longer than a year.
    """
    seconds = _seconds(value)
    if seconds is None:
        raise ValueError(f"{_shown(value)} is no duration; write it as 90s, 15m, 2h, 1d or 1h30m")
    if not MIN_DURATION_S <= seconds <= MAX_DURATION_S:
        raise ValueError(f"{_shown(value)} must be above zero and at most 365d")
    return seconds


def format_duration(seconds: float) -> str:
    """What `parse_duration` reads back, to the millisecond: `1h30m`, `0.5s`; `0s` for nothing."""
    milliseconds = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m"):
        count, milliseconds = divmod(milliseconds, _UNITS_S[unit] * 1000)
        parts.append(f"{count}{unit}" if count else "")
    if milliseconds or not any(parts):
        parts.append(f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


def parse_usd(value: object) -> float:
    """US dollars, from `5` or `2.50`. Raises ValueError for anything else, and for what is not above zero."""
    usd = _number(value)
    if usd is None:
        raise ValueError(f"{_shown(value)} is no amount of money; write US dollars as a number, such as 2.50")
    if not 0 < usd <= MAX_USD:
        raise ValueError(f"{_shown(value)} must be above zero and at most {MAX_USD:.0f} US dollars")
    return usd


def plain_usd(usd: float) -> int | float:
    """The amount as a person would write it in a file: `5`, not `5.0`."""
    return int(usd) if usd.is_integer() else usd


def format_usd(usd: float) -> str:
    """For people: cents, and two digits more for what is less than one (`$5.00`, `$0.0004`)."""
    digits = 4 if 0 < abs(usd) < 0.01 else 2
    return f"{'-' if usd < 0 else ''}${abs(usd):,.{digits}f}"


def _seconds(value: object) -> float | None:
    if not isinstance(value, str):
        return _number(value)
    match = _DURATION.fullmatch(value)
    if not match or not value:
        return _number(value)
    return sum(float(count) * unit_s for count, unit_s in zip(match.groups("0"), _UNITS_S.values(), strict=True))


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _shown(value: object) -> str:
    """As the person wrote it, more or less: YAML's `true` and `null`, not Python's."""
    if isinstance(value, str):
        return repr(value)
    return "null" if value is None else str(value).lower()
