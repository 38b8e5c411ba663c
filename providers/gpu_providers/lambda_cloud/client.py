"""Lambda Cloud's API on the wire: one method a route, JSON in and out. Knows no offer and no resource of ours.

https://docs.lambda.ai/api/cloud; the OpenAPI document is at https://cloud.lambda.ai/api/v1/openapi.json.
Answers hold the keys to an instance's JupyterLab (`jupyter_token`, `jupyter_url`): no error here quotes one.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gpu_providers.base import Secret
from gpu_providers.errors import CreateUnknown, InvalidRequest, NotFound, ProviderError, ProviderUnavailable
from gpu_providers.http import SEND_S, Answer, Http, OutcomeUnknown, Request, TooManyRequests, asked_pause_s
from gpu_providers.lambda_cloud.pacing import Pace, Turn
from gpu_providers.lambda_cloud.refusals import LAUNCH, OUR_FAULT, SET_THE_URL, TRY_LATER, Blocked, patience_s, refusal
from gpu_providers.values import Json, objects, text

LAUNCH_S = 120.0
"""A launch has been seen to take well over half a minute to answer."""
CALL_S = 30.0
_LOOK_IT_UP = "it may exist and bill: look for its name before anything else"


class LambdaClient:
    """One account, asked no faster than it may be. Its methods raise the errors of `gpu_providers.errors`."""

    def __init__(self, key: Secret, api_url: str, http: Http, pace: Pace) -> None:
        self._key = key
        self._api_url = api_url.rstrip("/")
        self._http = http
        self._pace = pace

    def instance_types(self) -> dict[str, Json]:
        """By name: `instance_type`, and `regions_with_capacity_available`, which is no promise."""
        found = self._all("instance-types")
        if not isinstance(found, dict):
            raise ProviderUnavailable("Lambda's answer holds no instance types", hint=TRY_LATER)
        return {name: item for name, item in found.items() if isinstance(item, dict)}

    def instances(self) -> list[Json]:
        """All that run, or begin to, of the account: the API filters by nothing of ours."""
        return self._list("instances")

    def instance(self, instance_id: str) -> Json:
        """Raises NotFound. One that was ended may also be told of for a while, as `terminated`."""
        found = self._read("GET", f"instances/{_checked(instance_id)}")
        if not isinstance(found, dict) or found.get("id") != instance_id:
            raise ProviderUnavailable(f"Lambda's answer is not about instance {instance_id}", hint=TRY_LATER)
        return found

    def launch(self, body: Json) -> str:
        """The id of the one instance that is made. Sent once, when the account may launch again.

        Raises NoCapacity when the region has none left, CreateUnknown when there may be an instance all the same.
        """
        made = self._create(LAUNCH, body, kind=Turn.LAUNCH, call_s=LAUNCH_S)
        ids = made.get("instance_ids")
        if not isinstance(ids, list) or len(ids) != 1 or not isinstance(ids[0], str) or not ids[0]:
            raise CreateUnknown("Lambda's answer to a launch does not name one instance", hint=_LOOK_IT_UP)
        return ids[0]

    def terminate(self, instance_id: str) -> None:
        """End it, its bill and its disk. One that is gone already is success.

        Raises ProviderUnavailable when it cannot be ended now, as perhaps while it boots: ask again.
        """
        body = {"instance_ids": [_checked(instance_id)]}
        try:
            ended = self._read("POST", "instance-operations/terminate", body)
        except NotFound:
            return
        except InvalidRequest as error:  # the request is sound, so it is the state that is refused
            raise ProviderUnavailable(error.message, hint=TRY_LATER) from None
        _confirm(instance_id, ended, "terminated_instances")

    def ssh_keys(self) -> list[Json]:
        """All of the account: `id`, `name`, `public_key`."""
        return self._list("ssh-keys")

    def add_ssh_key(self, name: str, public_key: str) -> Json:
        """The key as registered. Running instances do not get it. Raises CreateUnknown."""
        return self._create("ssh-keys", {"name": name, "public_key": public_key})

    def filesystems(self) -> list[Json]:
        """All of the account."""
        return self._list("file-systems")

    def create_filesystem(self, name: str, region: str) -> Json:
        """The file system as made. Raises CreateUnknown when it may have been made all the same."""
        return self._create("filesystems", {"name": name, "region": region})

    def delete_filesystem(self, filesystem_id: str) -> None:
        """With all that it holds. One that is gone already is success, one that is used is ProviderUnavailable."""
        with suppress(NotFound):
            deleted = self._read("DELETE", f"filesystems/{_checked(filesystem_id)}")
            _confirm(filesystem_id, deleted, "deleted_ids")

    def firewall_rulesets(self) -> list[Json]:
        """All of the account."""
        return self._list("firewall-rulesets")

    def create_firewall_ruleset(self, name: str, region: str, rules: Sequence[Json]) -> Json:
        """The ruleset as made; names are not unique. Raises CreateUnknown when it may have been made all the same."""
        return self._create("firewall-rulesets", {"name": name, "region": region, "rules": list(rules)})

    def set_firewall_rules(self, ruleset_id: str, rules: Sequence[Json]) -> None:
        """These, and no others, hold from now on for the machines that have it. Raises NotFound."""
        changed = self._read("PATCH", f"firewall-rulesets/{_checked(ruleset_id)}", {"rules": list(rules)})
        if not isinstance(changed, dict) or changed.get("id") != ruleset_id:
            raise ProviderUnavailable(f"Lambda does not say that it changes ruleset {ruleset_id}", hint=TRY_LATER)

    def delete_firewall_ruleset(self, ruleset_id: str) -> None:
        """One that is gone already is success, one that a machine has is ProviderUnavailable."""
        with suppress(NotFound):
            deleted = self._read("DELETE", f"firewall-rulesets/{_checked(ruleset_id)}")
            if not isinstance(deleted, dict):
                raise ProviderUnavailable(f"Lambda does not say that it deletes ruleset {ruleset_id}", hint=TRY_LATER)

    def images(self) -> list[Json]:
        """One row for each image and region."""
        return self._list("images")

    def _list(self, path: str) -> list[Json]:
        return objects(self._all(path), path)

    def _all(self, path: str) -> Any:
        """What is not there is not empty: all that it lacks would pass for gone."""
        try:
            return self._read("GET", path)
        except NotFound as error:
            raise ProviderUnavailable(error.message, hint=SET_THE_URL) from None

    def _read(self, method: str, path: str, body: Json | None = None) -> Any:
        """The `data` of the answer, for what may be asked twice without harm."""
        send = partial(self._http.safely, call_s=CALL_S, pause_s=_pause_s, turn=self._pace.wait)
        return self._data(_answered(send, self._request(method, path, body)))

    def _create(self, path: str, body: Json, *, kind: Turn = Turn.REQUEST, call_s: float = SEND_S) -> Json:
        """The `data` of the answer. Sent once: nothing would make a second one harmless."""
        self._pace.wait(kind)
        send = partial(self._http.once, call_s=call_s)
        try:
            return self._made(_answered(send, self._request("POST", path, body)))
        except OutcomeUnknown as error:
            raise CreateUnknown(error.message, hint=_LOOK_IT_UP) from None

    def _made(self, answer: Answer) -> Json:
        """Raises OutcomeUnknown when it may exist although this answer does not say so."""
        try:
            made = self._data(answer)
        except Blocked:
            raise
        except ProviderUnavailable as error:
            raise OutcomeUnknown(error.message) from None
        except NotFound as error:  # of what the body names: a type, a key, a file system
            raise InvalidRequest(error.message, hint=OUR_FAULT) from None
        if not isinstance(made, dict):
            raise OutcomeUnknown(f"{answer.request}: the answer does not say what was made")
        return made

    def _data(self, answer: Answer) -> Any:
        if not answer.is_success:
            raise self._refusal(answer)
        document = answer.json()
        if not isinstance(document, dict) or "data" not in document:
            raise ProviderUnavailable(f"{answer.request}: the answer holds no data", hint=TRY_LATER)
        return document["data"]

    def _request(self, method: str, path: str, body: Json | None = None) -> Request:
        return Request(method, f"{self._api_url}/{path}", self._key, body=body)

    def _refusal(self, answer: Answer) -> ProviderError:
        user_data = text(answer.request.body or {}, "user_data")
        return refusal(answer, (self._key.reveal(), *map(str.strip, user_data.splitlines())))


def _answered(send: Callable[[Request], Answer], request: Request) -> Answer:
    """Its answer, also one of 429."""
    try:
        return send(request)
    except TooManyRequests as error:
        return error.answer


def _pause_s(answer: Answer) -> float | None:
    return patience_s(answer) if answer.status == 429 else asked_pause_s(answer)


def _checked(found: str) -> str:
    """Nothing else may become part of a path: without its id, the route of one is that of all."""
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", found):
        raise InvalidRequest(f"{found!r} is no id at Lambda", hint="ids there are letters and digits")
    return found


def _confirm(thing_id: str, data: Any, name: str) -> None:
    """Raises ProviderUnavailable unless the list under this name, of objects or of ids, tells of it."""
    rows = data.get(name) if isinstance(data, dict) else None
    told = [row.get("id") if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else []
    if thing_id not in told:
        raise ProviderUnavailable(f"Lambda does not say that it ends {thing_id}", hint=TRY_LATER)
