"""What Vast.ai's answers hold. One that does not say what was asked for is none: what it lacks would pass for gone."""

import re
from email.utils import parsedate_to_datetime

from gpu_providers.errors import ProviderUnavailable
from gpu_providers.http import Answer
from gpu_providers.values import Json
from gpu_providers.vast.refusals import TRY_LATER

PAGE = 25
"""Instances on a page of the list: the most that the API gives."""
_CONTRACT = re.compile(r"\bnew_contract\b[^\w-]{1,8}([1-9][0-9]{0,17})(?:\.0)?(?=[^\w.])", re.ASCII)


def has_failed(document: Json) -> bool:
    """Whether it says so itself, under whatever status."""
    return not document.get("success", True)


def contract_of(answer: Answer) -> int | None:
    """The id of the instance that it names, whatever else it says and in whatever form; None for half a number, too."""
    named = _CONTRACT.search(answer.text)
    return int(named[1]) if named else None


def has_made(answer: Answer) -> bool:
    """Whether a create says itself that it went well."""
    try:
        document = answer.json()
    except ProviderUnavailable:
        return False
    return answer.is_success and isinstance(document, dict) and not has_failed(document)


def written_ago_s(answer: Answer) -> float:
    """How old the file in it is, in whole seconds of the clock of whoever keeps it; 0 where the answer does not say."""
    try:
        now, written = (parsedate_to_datetime(answer.headers[name]) for name in ("date", "last-modified"))
        return (now - written).total_seconds()
    except (KeyError, TypeError, ValueError):
        return 0.0


def the_one(answer: Json, instance_id: int | str) -> Json | None:
    """The instance of this id; None where the answer is that there is none. Raises ProviderUnavailable otherwise.

    It comes as an object, in older recordings in a list, and as null when it is gone.
    """
    found = answer.get("instances", "")
    rows = found if isinstance(found, list) else [found]
    for row in rows:
        if isinstance(row, dict) and str(row.get("id")) == str(instance_id):
            return row
    if found is None or found == []:
        return None
    raise ProviderUnavailable(f"Vast.ai's answer does not tell of instance {instance_id}", hint=TRY_LATER)


def next_token(page: Json) -> str:
    """Empty on the last page. Raises ProviderUnavailable when a full page does not say whether it is the last."""
    if "next_token" not in page and len(page["instances"]) >= PAGE:
        raise ProviderUnavailable("Vast.ai's list does not say whether there is more", hint=TRY_LATER)
    return str(page.get("next_token") or "")
