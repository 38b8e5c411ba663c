"""Vast.ai's REST API on the wire: one method a route, JSON in and out. Knows no offer and no resource of ours.

https://docs.vast.ai/api-reference; where its OpenAPI document and recorded answers differ, the answers count. Plain
HTTP instead of the official package `vastai`: version 1.9.1 sends a create again after a timeout, drops what errors
say, takes half a second to import, and brings 38 distributions, one of them AGPL.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from gpu_providers.base import Secret
from gpu_providers.errors import (
    CreateUnknown,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
)
from gpu_providers.http import CALL_S, Answer, Http, OutcomeUnknown, Request, TooManyRequests, asked_pause_s
from gpu_providers.values import Json, number, objects, web_url
from gpu_providers.vast.answers import (
    PAGE,
    contract_of,
    has_failed,
    has_made,
    next_token,
    the_one,
    written_ago_s,
)
from gpu_providers.vast.refusals import PATIENCE_S, TRY_LATER, Retired, is_search_quota, refusal

PAGES = 200
"""The end of patience with a list that does not end."""
BALANCE_S = 5.0
LOG_S = 30.0
UNDO_TRIES = 5
UNDO_PAUSE_S = 2.0
"""Between two looks at an instance: the least that the API asks for."""
_BY_ID = '[{"col": "id", "dir": "asc"}]'
_LOOK_IT_UP = "it may exist and bill: look for its label before anything else"
_NOT_TO_BLAME = (InvalidRequest, ProviderUnavailable)
"""What the refusal of a create that made an instance all the same cannot mean: it was understood."""


class VastClient:
    """One account. Its methods raise the errors of `gpu_providers.errors`; an id is a number, or text of one."""

    def __init__(self, key: Secret, api_url: str, http: Http) -> None:
        self._key = key
        self._api_url = api_url.rstrip("/")
        self._http = http

    def search(self, query: Mapping[str, Any]) -> list[Json]:
        """One page of asks: at most 64 since 2026, whatever the `limit`. No bound in the query is sure to be applied.

        Raises SearchQuotaExceeded when there is nothing to be had before its `until`.
        """
        return objects(self._read("POST", "v0/bundles/", body=query).get("offers"), "offers")

    def create(self, ask_id: int, body: Mapping[str, Any]) -> int:
        """Rent an ask; the id of the instance. Sent once.

        Raises AskGone when another was faster, CreateUnknown when there may be an instance all the same. An instance
        that was made by a create that failed is ended before the failure is told (dstack#4036).
        """
        request = self._request("PUT", f"v0/asks/{_numeric(ask_id)}/", body=body)
        try:
            answer = _answered(self._http.once, request)
        except OutcomeUnknown as error:
            raise CreateUnknown(error.message, hint=_LOOK_IT_UP) from None
        contract = contract_of(answer)
        if contract is None:
            raise self._nothing_named(answer)
        if not has_made(answer):
            raise self._undone(contract, answer)
        return contract

    def instance(self, instance_id: int | str) -> Json:
        """Raises NotFound when its own route and the list both do not know it: each alone has been seen to err."""
        try:
            found = the_one(self._read("GET", f"v0/instances/{_numeric(instance_id)}/"), instance_id)
        except NotFound:
            found = None
        if found is None:
            found = next(iter(self.instances(instance_id=instance_id)), None)
        if found is None:
            raise NotFound(f"Vast.ai has no instance {instance_id}")
        return found

    def instances(self, *, label: str = "", instance_id: int | str | None = None) -> list[Json]:
        """All instances of the account, or those with exactly this label or id, by id."""
        wanted: dict[str, str | int] = {"label": label} if label else {}
        if instance_id is not None:
            wanted["id"] = int(_numeric(instance_id))
        return [row for row in self._list(wanted) if all(_may_have(row, name, wanted[name]) for name in wanted)]

    def destroy(self, instance_id: int | str) -> None:
        """End it, its bill and its disk. One that is gone already is success."""
        self._has_destroyed(instance_id)

    def request_logs(self, instance_id: int | str, *, tail: int) -> str:
        """Have the end of its output uploaded; the URL where it will be. Raises NotFound."""
        path = f"v0/instances/request_logs/{_numeric(instance_id)}/"
        url = self._read("PUT", path, body={"tail": str(tail)}).get("result_url")
        if not isinstance(url, str) or not web_url(url):
            raise ProviderUnavailable("Vast.ai does not say where the log will be", hint=TRY_LATER)
        return url

    def log_text(self, url: str, *, written_within_s: float = math.inf) -> str | None:
        """What was uploaded there, so short a time ago; None while nothing is. The place is not Vast.ai's and gets no
        key.

        It is public: whoever has its URL can read the log, so no error repeats that.
        """
        try:
            answer = self._http.once(Request("GET", url, key=None), call_s=LOG_S)
        except ProviderError as error:
            raise ProviderUnavailable("the store of logs does not answer", hint=error.hint) from None
        if answer.is_success:
            return answer.text if written_ago_s(answer) <= written_within_s else None
        if 400 <= answer.status < 500:
            return None
        raise ProviderUnavailable(f"the store of logs answered {answer.status}", hint=TRY_LATER)

    def balance_usd(self) -> float | None:
        """What the account can still spend. None without an answer."""
        try:
            return number(self._user(BALANCE_S).get("credit"))
        except ProviderError:
            return None

    def user(self) -> Json:
        """The account of the key: `id`, `credit`."""
        return self._user(CALL_S)

    def _user(self, call_s: float) -> Json:
        return self._read("GET", "v0/users/current", call_s=call_s)

    def _list(self, wanted: Json) -> list[Json]:
        """Every page. A list that is not whole, or not there, is no empty one: what it lacks would pass for gone."""
        found: list[Json] = []
        query = {"limit": str(PAGE), "order_by": _BY_ID}
        if wanted:
            query["select_filters"] = json.dumps({name: {"eq": value} for name, value in wanted.items()})
        for _ in range(PAGES):
            page = self._read("GET", "v1/instances/", params=query)
            found += objects(page.get("instances"), "instances")
            token = next_token(page)
            if not token:
                return found
            if token == query.get("after_token"):
                break
            query["after_token"] = token
        raise ProviderUnavailable("Vast.ai's list of instances does not end", hint=TRY_LATER)

    def _nothing_named(self, answer: Answer) -> ProviderError:
        """For a create whose answer names no instance."""
        error = self._refusal(answer)
        if isinstance(error, ProviderUnavailable) and not isinstance(error, Retired):
            return CreateUnknown(error.message, hint=_LOOK_IT_UP)
        return error

    def _undone(self, contract: int, answer: Answer) -> ProviderError:
        """For a create that failed and made an instance all the same, which is ended first."""
        if not self._ended(contract):
            return CreateUnknown(f"Vast.ai made instance {contract} by a create that failed", hint=_LOOK_IT_UP)
        error = self._refusal(answer)
        if isinstance(error, _NOT_TO_BLAME):
            return NoCapacity("Vast.ai made an instance and did not start it; it is ended", hint="another offer may do")
        return error

    def _ended(self, contract: int) -> bool:
        """An instance this young may not be known yet: it is gone only if its end was accepted, too."""
        accepted = False
        for _ in range(UNDO_TRIES):
            try:
                accepted = self._has_destroyed(contract) or accepted
                self._http.sleep(UNDO_PAUSE_S)
                self.instance(contract)
            except NotFound:
                if accepted:
                    return True
            except ProviderError:
                self._http.sleep(UNDO_PAUSE_S)
        return False

    def _has_destroyed(self, instance_id: int | str) -> bool:
        """False for one that was gone already."""
        try:
            self._read("DELETE", f"v0/instances/{_numeric(instance_id)}/")
        except NotFound:
            return False
        return True

    def _read(self, method: str, path: str, *, call_s: float = CALL_S, **more: Any) -> Json:
        """For what may be asked twice without harm."""
        send = partial(self._http.safely, call_s=call_s, pause_s=_pause_s)
        answer = _answered(send, self._request(method, path, **more))
        if not answer.is_success:
            raise self._refusal(answer)
        document = answer.json()
        if not isinstance(document, dict):
            raise ProviderUnavailable(f"Vast.ai's answer for {path} is not an object", hint=TRY_LATER)
        if has_failed(document):
            raise self._refusal(answer)
        return document

    def _request(self, method: str, path: str, **more: Any) -> Request:
        return Request(method, f"{self._api_url}/api/{path}", self._key, **more)

    def _refusal(self, answer: Answer) -> ProviderError:
        env = (answer.request.body or {}).get("env", {})
        return refusal(answer, datetime.now(UTC), (self._key.reveal(), *map(str, env.values())))


def _answered(send: Callable[[Request], Answer], request: Request) -> Answer:
    """Its answer, also one of 429: what that limits is for its body to say."""
    try:
        return send(request)
    except TooManyRequests as error:
        return error.answer


def _may_have(row: Json, name: str, value: object) -> bool:
    """One that does not say is not left out: what it lacks would pass for gone."""
    return row.get(name) is None or str(row[name]) == str(value)


def _pause_s(answer: Answer) -> float | None:
    if is_search_quota(answer):
        return None
    return answer.retry_after_s or PATIENCE_S if answer.status == 429 else asked_pause_s(answer)


def _numeric(instance_id: int | str) -> str:
    """Nothing else may become part of a path: `DELETE /instances/` is a route, too."""
    if not re.fullmatch(r"[0-9]{1,18}", str(instance_id)):
        raise InvalidRequest(f"{instance_id!r} is no id at Vast.ai", hint="ids there are numbers")
    return str(instance_id)
