"""RunPod's account: who may do what with which key, and the balance, which only GraphQL tells.

Sources: the OpenAPI file of API v2 (401 and 403); for the key that a pod gets, recordings of what it may not do (it
reads its own pod and ends it, nothing else); for GraphQL, what it answers to a key that never was one (401) and to none
(`myself` is null).
"""

import re
from typing import TYPE_CHECKING

from ..server import Request, Response, Route
from ..spoiling import edge_block
from .answers import graphql, problem

if TYPE_CHECKING:
    from .emulator import RunPodEmulator

BOTS = re.compile(r"python-urllib/.*|", re.IGNORECASE)
"""User agents that are turned away before anyone looks at the key (recorded: 403, error code 1010); and none at all."""


class Account:
    """The account of the emulated cloud. Its methods are called under the cloud's lock."""

    def __init__(self, cloud: "RunPodEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        return [Route("POST", "/graphql", self._graphql, call="account")]

    def admit(self, request: Request) -> Response | None:
        """The refusal of a request to api.runpod.io, or None."""
        if BOTS.fullmatch(request.headers.get("user-agent", "")):
            return edge_block()
        if request.path == "/graphql":
            return None  # it decides for itself
        if not request.bearer:
            return problem(401, "missing bearer token")
        if request.bearer == self._cloud.key:
            return None
        pod = self._cloud.pods.by_key(request.bearer)
        if pod is None:
            return problem(401, "invalid bearer token")
        return None if _is_own(request, pod.id) else problem(403, "access denied")

    def cannot_pay(self, gpu: str, hour_usd: float) -> Response | None:
        """An hour's worth has to be there (docs, "Pods pricing"); what a 402 says was never recorded."""
        rule = self._cloud.misbehaviour.take("no-funds", call="create", gpu=gpu)
        balance_usd = self._cloud.billing.balance_usd()
        if rule or balance_usd < hour_usd or balance_usd <= 0:
            return problem(rule.status if rule and rule.status else 402, "Insufficient balance")
        return None

    def _graphql(self, request: Request) -> Response:
        if request.bearer and request.bearer != self._cloud.key:
            return problem(401, "unauthorized")
        query = (request.json() or {}).get("query", "")
        if "myself" not in query:
            return graphql(None, "this query is not emulated")
        return graphql({"myself": self._myself() if request.bearer else None})

    def _myself(self) -> dict[str, object]:
        billing = self._cloud.billing
        return {
            "id": "user_emulated",
            "email": "someone@example.com",
            "clientBalance": round(billing.balance_usd(), 4),
            "currentSpendPerHr": round(billing.usd_per_hour(), 4),
            "spendLimit": 80,
            "minBalance": 0,
            "underBalance": billing.balance_usd() <= 0,
        }


def _is_own(request: Request, pod: str) -> bool:
    """Whether a pod's key allows it."""
    if request.path == f"/v2/pods/{pod}":
        return request.method in ("GET", "DELETE")
    terminates = (request.json() or {}).get("action") in ("terminate", "stop")
    return request.path == f"/v2/pods/{pod}/action" and terminates
