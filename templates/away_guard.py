"""Ends at Lambda what has to end while the user's own machine sleeps or is off. Runs every few minutes at Modal.

One file. Python 3.9 or newer, its standard library, and Modal's client, which is in every container there. In the
environment: LAMBDA_API_KEY and GPU_LAMBDA_API_URL, from a Secret of Modal's.

It looks at each instance whose name begins with `gpu-` and which has a tag `gpu-cli:name`, and ends it when

    deadline    `gpu-cli:deadline-at` has passed
    budget      `gpu-cli:budget-usd` is used up by the instance's price since `gpu-cli:ordered-at`
    idle        the guard on the user's machine has fallen silent, and there was no work for `gpu-cli:idle-s` when it
                last told: such an instance is reached through that guard only. One that was never ready has until
                `gpu-cli:start-deadline-at`

each a while later than that: the guard on the user's machine has the first turn. Times are seconds since 1970 UTC. What
cannot be read of an instance limits nothing and is told; what is not ours is not touched.

Heartbeats are in the Dict `gpu-guard`, by the name of the instance: `{"beat_at", "active_at"}`; `active_at` is None
before it was ready. Without one, idleness ends nothing.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Optional

NAME = "gpu-guard"
TURNED_AT = "turned_at"
"""In the Dict, when a turn has ended."""
PREFIX = "gpu-cli:"
GRACE_S = 60.0
SILENT_S = 240.0
"""Beats come every minute: several were missed."""
ENDING = ("terminating", "terminated", "preempted")
CALL_S = 30.0
PAUSES_S = (2.0, 10.0)
"""Before a request is made again. Lambda takes about one in a second, from the whole account."""
PACE_S = 1.1


class Unreadable(Exception):
    """Something that is said of an instance cannot be used; the text tells what."""


# --- the decision: pure ----------------------------------------------------------------------------------------------


def judge(instance: Mapping[str, Any], beat: object, now: float) -> tuple[str, list[str]]:
    """Which of its limits has passed, or nothing and what cannot be read of them."""
    problems = []
    for reason, ends_at in LIMITS.items():
        try:
            if now >= ends_at(instance, beat, now) + GRACE_S:
                return reason, []
        except Unreadable as error:
            problems.append(str(error))
    return "", problems


def deadline_at(instance: Mapping[str, Any], _beat: object, _now: float) -> float:
    """Raises Unreadable, as all of these do."""
    return number(instance, "deadline-at")


def budget_ends_at(instance: Mapping[str, Any], _beat: object, _now: float) -> float:
    """Never, without a budget or a price."""
    cents_per_hour = (instance.get("instance_type") or {}).get("price_cents_per_hour") or 0
    if not tags_of(instance).get("budget-usd") or cents_per_hour <= 0:
        return math.inf
    hours = number(instance, "budget-usd") * 100 / cents_per_hour
    return number(instance, "ordered-at") + hours * 3600


def idle_at(instance: Mapping[str, Any], beat: object, now: float) -> float:
    """Never, while the guard on the user's machine is heard, or if it never was."""
    if beat is None:
        return math.inf
    beat_at, active_at = beat_of(beat)
    if now - beat_at < SILENT_S:
        return math.inf
    idle_s = number(instance, "idle-s")
    if active_at is None:
        return max(beat_at + idle_s, number(instance, "start-deadline-at"))
    return active_at + idle_s


LIMITS: Mapping[str, Callable[[Mapping[str, Any], object, float], float]] = {
    "deadline": deadline_at,
    "budget": budget_ends_at,
    "idle": idle_at,
}


def is_ours(instance: Mapping[str, Any]) -> bool:
    """By its name and its tag; what is ending already is nobody's."""
    named = str(instance.get("name") or "").startswith("gpu-") and "name" in tags_of(instance)
    return named and instance.get("status") not in ENDING


def tags_of(instance: Mapping[str, Any]) -> dict[str, str]:
    """Ours, without the prefix."""
    tags = {str(tag.get("key")): str(tag.get("value")) for tag in instance.get("tags") or []}
    return {key[len(PREFIX) :]: value for key, value in tags.items() if key.startswith(PREFIX)}


def number(instance: Mapping[str, Any], name: str) -> float:
    """The number in this tag, above zero."""
    text = tags_of(instance).get(name, "")
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text) or float(text) <= 0:
        raise Unreadable(f"its tag {PREFIX}{name} cannot be read")
    return float(text)


def beat_of(beat: object) -> tuple[float, Optional[float]]:
    """When the guard was last heard, and when it had last seen work."""
    try:
        beat_at, active_at = beat["beat_at"], beat["active_at"]  # type: ignore[index]
        return float(beat_at), None if active_at is None else float(active_at)
    except (TypeError, ValueError, LookupError, OverflowError):
        raise Unreadable("its heartbeat cannot be read") from None


# --- Lambda ----------------------------------------------------------------------------------------------------------


class TryAgain(OSError):
    """Too many requests, or no answer that is one."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to nobody else."""

    def redirect_request(self, *_: Any) -> None:
        """Not followed."""


def ask(method: str, path: str, body: Optional[Mapping[str, object]] = None) -> Any:
    """The `data` of Lambda's answer. Raises PermissionError for a wrong key, OSError for all else.

    Nothing of an answer but its status is ever told: answers hold secrets.
    """
    for pause_s in PAUSES_S:
        try:
            return send(method, path, body)
        except TryAgain:
            time.sleep(pause_s)
    return send(method, path, body)


def send(method: str, path: str, body: Optional[Mapping[str, object]]) -> Any:
    """Once. Raises TryAgain where another time may be better."""
    request = urllib.request.Request(
        os.environ["GPU_LAMBDA_API_URL"].rstrip("/") + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['LAMBDA_API_KEY']}",
            "Content-Type": "application/json",
            "User-Agent": "gpu-away-guard/1",  # Cloudflare bans Python's own
        },
        method=method,
    )
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=CALL_S) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        error.close()
        raise refusal(error.code, f"{method} {path}") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TryAgain(f"{method} {path}: no answer from Lambda ({type(error).__name__})") from None


def refusal(status: int, call: str) -> OSError:
    """What an answer of this status raises."""
    if status == 401:
        return PermissionError("Lambda refuses the key (401)")
    kind = TryAgain if status == 429 or status >= 500 else OSError
    return kind(f"{call}: Lambda answers {status}")


def terminate(instance_id: str) -> None:
    """One at a time: what becomes of the others when one id is unknown is not documented. Raises as `ask` does."""
    time.sleep(PACE_S)
    ended = ask("POST", "/instance-operations/terminate", {"instance_ids": [instance_id]})
    if instance_id not in [one.get("id") for one in ended["terminated_instances"]]:
        raise OSError("Lambda does not say that it ends it")


# --- the function ----------------------------------------------------------------------------------------------------


def enforce() -> list[str]:
    """One turn; what there was to say. It fails when something that should have ended may live on: that is seen."""
    said: list[str] = []
    failed: list[str] = []
    for instance in filter(is_ours, ask("GET", "/instances")):
        name = str(instance["name"])
        try:
            reason, problems = judge(instance, heartbeat(name), time.time())
            if reason:
                terminate(str(instance["id"]))
                problems = [f"terminated: {reason}"]
            said += [f"{name}: {text}" for text in problems]
        except Exception as error:  # noqa: BLE001 (one that cannot be ended must not save the others)
            failed.append(f"{name}: {error}")
    for line in said + failed:
        print(line, flush=True)
    tell_that_it_works()
    if failed:
        raise RuntimeError("; ".join(failed))
    return said


def heartbeat(name: str) -> object:
    """What the guard on the user's machine told last; None if nothing, or nothing for a week. No trouble with it may
    keep a deadline from being kept: then it is something that cannot be read.
    """
    import modal

    try:
        return modal.Dict.from_name(NAME).get(name)
    except Exception as error:  # noqa: BLE001 (whatever Modal says)
        return type(error).__name__


def tell_that_it_works() -> None:
    """To the guard on the user's machine, which counts on it."""
    import modal

    modal.Dict.from_name(NAME).put(TURNED_AT, time.time())
