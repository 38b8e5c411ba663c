"""Filters and orders over rows, as searches and lists of Vast.ai take them.

What the sources say (vast-ai/vast-cli `query.py`; Vast's OpenAPI file; recordings), and this does:
- A filter is `{field: {operator: value}}`; a bare value is refused.
- Some fields are virtual: they are about a column of another name, or of another unit.
- `geolocation` is filtered by the two letters of the country; a filter on `id` matches nothing.
- What is null is not true: `rented eq false` and `external eq false` match it.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .asks import driver_number

Row = Mapping[str, Any]
Filters = Mapping[str, Mapping[str, Any]]


class BadQuery(ValueError):
    """Its text is the server's answer."""


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda mine, theirs: mine is not None and compare(mine, theirs)


OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": _compared(operator.gt),
    "lt": _compared(operator.lt),
    "gte": _compared(operator.ge),
    "lte": _compared(operator.le),
    "in": lambda mine, theirs: mine in theirs,
    "notin": lambda mine, theirs: mine not in theirs,
}
ALIASES = {
    "verified": "vericode",
    "datacenter": "hosting_type",
    "target_reliability": "expected_reliability",
    "reliability2": "reliability",
    "dphtotal": "dph_total",
    "gpu_totalram": "gpu_total_ram",
    "ubuntu_version": "os_version",
    "driver_version": "driver_vers",
    "gpu_ram_GB": "gpu_ram",
    "gpu_totalram_GB": "gpu_total_ram",
    "cpu_ram_GB": "cpu_ram",
}
VALUES: Mapping[str, Callable[[Any], Any]] = {
    "driver_version": lambda value: driver_number(value) if isinstance(value, str) else value,
    **dict.fromkeys(("gpu_ram_GB", "gpu_totalram_GB", "cpu_ram_GB"), lambda value: value * 1000),
}
"""What is asked of such a field, in the unit of its column."""


def checked(filters: Mapping[str, Any], columns: Collection[str]) -> Filters:
    """The filters, if they are some. Raises BadQuery."""
    for field, asked in filters.items():
        if not isinstance(asked, Mapping):
            raise BadQuery(f"{field}: Input should be a valid dictionary")
        if ALIASES.get(field, field) not in columns:
            raise BadQuery(f"{field} is not a valid search key")
        if strange := asked.keys() - OPERATORS.keys():
            raise BadQuery(f"{field}: {', '.join(sorted(strange))} is not a valid operator")
    return filters


def matches(row: Row, filters: Filters) -> bool:
    """Raises BadQuery for what cannot be compared."""
    try:
        return all(
            OPERATORS[name](_value(row, field, wanted), _wanted(field, wanted))
            for field, asked in filters.items()
            for name, wanted in asked.items()
        )
    except TypeError as error:
        raise BadQuery(f"Invalid filter: {error}") from None


def _value(row: Row, field: str, wanted: Any) -> Any:
    value = row.get(ALIASES.get(field, field))
    if field == "geolocation":
        return value[-2:] if value else None
    if field == "id" and "ask_contract_id" in row:
        return None
    return False if value is None and isinstance(wanted, bool) else value


def _wanted(field: str, wanted: Any) -> Any:
    convert = VALUES.get(field, lambda value: value)
    return [convert(value) for value in wanted] if isinstance(wanted, list) else convert(wanted)


def ordered(rows: Sequence[Row], order: Sequence[Sequence[str]], columns: Collection[str]) -> list[Row]:
    """By the first, then by the next; what is null comes last. Raises BadQuery."""
    result = list(rows)
    for field, direction in reversed(order):
        column = ALIASES.get(field, field)
        if column not in columns:
            raise BadQuery(f"{field} is not a valid search key")
        known = [row for row in result if row[column] is not None]
        known.sort(key=operator.itemgetter(column), reverse=direction == "desc")
        result = [*known, *(row for row in result if row[column] is None)]
    return result
