"""RunPod's REST API v2 on the wire: one method a route, JSON in and out. Knows no offer and no resource of ours.

https://docs.runpod.io/api-reference-v2/overview; the OpenAPI document is at https://api.runpod.io/v2/openapi.json.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any
from urllib.parse import quote

from gpu_providers.base import Secret
from gpu_providers.errors import CreateUnknown, InvalidRequest, NotFound, ProviderError, ProviderUnavailable
from gpu_providers.event_stream import Reading
from gpu_providers.http import Answer, Http, OutcomeUnknown, Request
from gpu_providers.runpod.log_lines import LogLine, LogQuery, log_lines
from gpu_providers.runpod.refusals import OUR_FAULT, SET_THE_URL, TRY_LATER, Conflict, refusal
from gpu_providers.values import Json, number, objects

PAGES = 100
"""More than any account has, at 1000 items a page: the end of patience with a cloud whose lists do not end."""
BALANCE_S = 5.0
_BALANCE = "{ myself { clientBalance } }"
_MAY_HAVE_WORKED = (408, 409)
"""Besides all from 500: a request that took too long, and a name that is taken, perhaps by this very request."""
_LOOK_IT_UP = "it may exist and bill: look for its name before anything else"


class RunPodClient:
    """One account. Its methods raise the errors of `gpu_providers.errors`."""

    def __init__(self, key: Secret, api_url: str, http: Http) -> None:
        self._key = key
        self._api_url = api_url.rstrip("/")
        self._http = http

    def gpus(self, *, product: str, count: int, cloud: str | None = None, min_cuda_version: str = "") -> list[Json]:
        """All GPU types with their prices, and the stock for so many cards a machine of a `product` (POD, SERVERLESS).

        `cloud` is SECURE or COMMUNITY. Prices are per card and hour, whatever the count.
        """
        asked = {
            "include": "AVAILABILITY",
            "product": product,
            "count": str(count),
            "cloud": cloud,
            "minCudaVersion": min_cuda_version,
        }
        return self._list("catalog/gpus", "gpus", {name: value for name, value in asked.items() if value})

    def pods(self) -> list[Json]:
        """All pods of the account: the API filters by nothing."""
        return self._list("pods", "pods")

    def pod(self, pod_id: str) -> Json:
        """Raises NotFound."""
        return self._object("pods", pod_id)

    def create_pod(self, body: Json) -> Json:
        """The pod as made, with its `id`. Raises CreateUnknown when it may have been made all the same."""
        return self._create("pods", body)

    def delete_pod(self, pod_id: str) -> None:
        """One that is gone already is success, one that is locked is unlocked first."""
        path = f"pods/{_quoted(pod_id)}"
        with suppress(NotFound):
            try:
                self._delete(path)
            except Conflict:
                self._accepted(self._http.once(self._request("PATCH", path, body={"locked": False})))
                self._delete(path)

    def pod_logs(self, pod_id: str, query: LogQuery) -> Iterator[LogLine]:
        """Lines of what the container prints (`container`) and of what its host says (`system`).

        Without `follow` it ends when no more come for a moment. Raises NotFound, also when it follows a pod that goes.
        """
        return self._logs(f"pods/{_quoted(pod_id)}/logs", query)

    def endpoints(self) -> list[Json]:
        """All serverless endpoints of the account."""
        return self._list("serverless", "endpoints")

    def endpoint(self, endpoint_id: str) -> Json:
        """Raises NotFound."""
        return self._object("serverless", endpoint_id)

    def create_endpoint(self, body: Json) -> Json:
        """As `create_pod`."""
        return self._create("serverless", body)

    def delete_endpoint(self, endpoint_id: str) -> None:
        """With its workers and what is queued. One that is gone already is success."""
        with suppress(NotFound):
            self._delete(f"serverless/{_quoted(endpoint_id)}")

    def workers(self, endpoint_id: str) -> list[Json]:
        """What runs, or begins to, behind an endpoint. Raises NotFound."""
        return _items(self._read(f"serverless/{_quoted(endpoint_id)}/workers"), "workers")

    def worker_logs(self, endpoint_id: str, worker_id: str, query: LogQuery) -> Iterator[LogLine]:
        """As `pod_logs`."""
        return self._logs(f"serverless/{_quoted(endpoint_id)}/workers/{_quoted(worker_id)}/logs", query)

    def volumes(self) -> list[Json]:
        """All network volumes of the account."""
        return self._list("network-volumes", "networkVolumes")

    def create_volume(self, body: Json) -> Json:
        """As `create_pod`."""
        return self._create("network-volumes", body)

    def delete_volume(self, volume_id: str) -> None:
        """With all that it holds. One that is gone already is success."""
        with suppress(NotFound):
            self._delete(f"network-volumes/{_quoted(volume_id)}")

    def balance_usd(self) -> float | None:
        """What the account has left, by the older GraphQL API, since v2 does not tell. None without an answer."""
        url = f"{self._api_url.rpartition('/')[0]}/graphql"
        request = Request("POST", url, self._key, body={"query": _BALANCE})
        try:
            return number(self._http.once(request, call_s=BALANCE_S).json()["data"]["myself"]["clientBalance"])
        except (ProviderError, KeyError, TypeError):
            return None

    def _read(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        return self._accepted(self._http.safely(self._request("GET", path, params=params or {}))).json()

    def _object(self, path: str, wanted: str) -> Json:
        found = self._read(f"{path}/{_quoted(wanted)}")
        if not isinstance(found, dict) or found.get("id") != wanted:
            raise ProviderUnavailable(f"RunPod's answer is not about {wanted}", hint=TRY_LATER)
        return found

    def _list(self, path: str, name: str, params: Mapping[str, str] | None = None) -> list[Json]:
        """Every page. A list that is not whole, or not there, is no empty one: what it lacks would pass for gone."""
        found: list[Json] = []
        query = dict(params or {})
        for _ in range(PAGES):
            page = self._page(path, query)
            found += _items(page, name)
            cursor = _next_cursor(page)
            if not cursor:
                return found
            if cursor == query.get("cursor"):
                break
            query["cursor"] = cursor
        raise ProviderUnavailable(f"RunPod's list of {name} does not end", hint=TRY_LATER)

    def _page(self, path: str, query: Mapping[str, str]) -> Any:
        try:
            return self._read(path, query)
        except NotFound as error:
            raise ProviderUnavailable(error.message, hint=SET_THE_URL) from None

    def _create(self, path: str, body: Json) -> Json:
        try:
            return self._created(self._http.once(self._request("POST", path, body=body)))
        except OutcomeUnknown as error:
            raise CreateUnknown(error.message, hint=_LOOK_IT_UP) from None
        except NotFound as error:  # of what the body names: a volume, a template
            raise InvalidRequest(error.message, hint=OUR_FAULT) from None

    def _created(self, answer: Answer) -> Json:
        """Raises OutcomeUnknown when it may exist although this answer does not say so."""
        if answer.status in _MAY_HAVE_WORKED or answer.status >= 500:
            raise OutcomeUnknown(self._refusal(answer).message)
        created = self._accepted(answer)
        if not _has_id(created):
            raise OutcomeUnknown(f"{created.request}: the answer ({created.status}) does not say what was made")
        found: Json = created.json()
        return found

    def _delete(self, path: str) -> None:
        answer = self._accepted(self._http.safely(self._request("DELETE", path)))
        if answer.text:
            answer.json()  # the API says nothing (204), or JSON: a web page is not its word

    def _logs(self, path: str, query: LogQuery) -> Iterator[LogLine]:
        """Not followed, a log that goes on while it is read ends with what was asked for."""
        request = self._request("GET", path, params=query.params(), headers={"Accept": "text/event-stream"})
        deadline = math.inf if query.follow else self._http.clock() + query.read_s
        lines = log_lines(self._http, request, Reading(self._refusal, deadline, query.stop, query.follow))
        return lines if query.since or query.follow else islice(lines, query.tail)

    def _request(self, method: str, path: str, **more: Any) -> Request:
        return Request(method, f"{self._api_url}/{path}", self._key, **more)

    def _accepted(self, answer: Answer) -> Answer:
        if not answer.is_success:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: Answer) -> ProviderError:
        env = (answer.request.body or {}).get("env", {})
        return refusal(answer, (self._key.reveal(), *env.values()))


@contextmanager
def as_made() -> Iterator[None]:
    """For reading the answer to a create that worked: raises CreateUnknown for whatever is wrong with it."""
    try:
        yield
    except ProviderError as error:
        raise CreateUnknown(error.message, hint=_LOOK_IT_UP) from None


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _has_id(answer: Answer) -> bool:
    try:
        created = answer.json()
    except ProviderUnavailable:
        return False
    return isinstance(created, dict) and isinstance(created.get("id"), str) and bool(created["id"])


def _items(page: Any, name: str) -> list[Json]:
    """Lists come bare or under a name; Go writes an empty one as null."""
    is_wrapped = isinstance(page, dict) and name in page
    items = page[name] if is_wrapped else page
    if is_wrapped and items is None:
        return []
    return objects(items, name)


def _next_cursor(page: Any) -> str:
    """Empty on the last page. Raises ProviderUnavailable when there are more and it does not say where."""
    pagination = page.get("pagination") if isinstance(page, dict) else None
    if not isinstance(pagination, dict) or not pagination.get("hasNextPage", True):
        return ""
    cursor = pagination.get("nextCursor")
    if not cursor and pagination.get("hasNextPage"):
        raise ProviderUnavailable("RunPod's list has more pages and does not say where", hint=TRY_LATER)
    return str(cursor or "")
