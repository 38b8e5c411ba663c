"""How an ask becomes an instance: PUT /api/v0/asks/{id}/.

What the sources say, and this does:
- Any `price` makes it interruptible (vast-ai/vast-cli#403).
- A disk that is too large is not refused but clipped (skypilot-org/skypilot#9892); sizes are rounded up.
- What cannot start is refused with `cancel_unavail`, and otherwise a stopped instance whose disk bills (Vast's OpenAPI
  file: the default is true for what is no bid).
- A bid that is too low is `success: false`, and yet there is a contract (dstackai/dstack#4036).
- Without credit nothing is rented, not even a disk (reports of clients; the status is not documented).
"""

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from ..misbehaviour import Rule
from ..server import Request, Response, Route, json_response
from . import bodies
from .answers import no_such_ask, refused
from .asks import Ask
from .instances import Instance

if TYPE_CHECKING:
    from .emulator import VastEmulator

USUAL_DISK_GB = 10.0
GONE = 410
SHOWN_BY = ("get", "list")
FATES = ("outbid", "host-stops", "host-state")


class Creation:
    """The route of creates. Called under the cloud's lock."""

    def __init__(self, cloud: "VastEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        return [Route("PUT", "/api/v0/asks/{id}/", self._create, call="create")]

    def _create(self, request: Request) -> Response:
        body = request.json()
        if refusal := bodies.wrong(body):
            return refusal
        if self._cloud.misbehaviour.take("ids-change", call="create", gpu=self._cloud.gpu_of(request)):
            self._cloud.asks.renew()
        ask = self._cloud.ask(request)
        if ask is None:
            return no_such_ask(int(request.params["id"]))
        return self._cannot_pay(ask) or self._rented(ask, body)

    def _cannot_pay(self, ask: Ask) -> Response | None:
        if self._rule("spend-limit", ask):
            return refused(400, "spend_rate_limit", "Your account has reached its spend rate limit.", ask_id=ask.id)
        rule = self._rule("no-funds", ask)
        if rule or self._cloud.billing.balance_usd() <= 0:
            status = rule.status if rule and rule.status else 400
            return refused(status, "insufficient_credit", "Your account lacks credit; add some first.", ask_id=ask.id)
        return None

    def _rented(self, ask: Ask, body: dict[str, Any]) -> Response:
        sold_out, too_low = self._rule("no-capacity", ask), self._rule("bid-too-low", ask)
        cancels = body.get("cancel_unavail", body.get("price") is None)
        if sold_out and (cancels or sold_out.status not in (None, GONE)):
            return no_such_ask(ask.id, sold_out.status or GONE)
        instance = self._made(ask, body)
        if too_low or (body.get("price") or math.inf) < ask.min_bid_usd:
            status, msg = (too_low and too_low.status) or 200, "Bid is too low: the instance is stopped."
            return refused(status, "bid_too_low", msg, new_contract=instance.id)
        if not sold_out and body.get("target_state", "running") == "running":
            self._cloud.instances.start(instance)
        return json_response({"success": True, "new_contract": instance.id, "instance_api_key": instance.key})

    def _made(self, ask: Ask, body: dict[str, Any]) -> Instance:
        instances, now = self._cloud.instances, self._cloud.clock.now()
        asked_gb = body.get("disk", USUAL_DISK_GB) / (2 if self._rule("clipped-disk", ask) else 1)
        boot = self._cloud.boot_of(ask.machine.gpu_name)
        instance = instances.create(ask, body, min(math.ceil(asked_gb), ask.disk_gb), boot)
        instance.key_dies = self._rule("container-key-dies", ask) is not None
        if unseen := self._rule("unseen", ask):
            instance.hidden_until = dict.fromkeys([unseen.text] if unseen.text else SHOWN_BY, now + unseen.seconds)
        for what in FATES:
            if rule := self._rule(what, ask):
                instance.fates.append((now + rule.seconds, self._fate(rule)))
        return instance

    def _fate(self, rule: Rule) -> Any:
        instances = self._cloud.instances
        if rule.do == "host-state":
            return partial(instances.become, status=rule.text)
        return {"outbid": instances.stop, "host-stops": instances.host_stops}[rule.do]

    def _rule(self, what: str, ask: Ask) -> Rule | None:
        return self._cloud.misbehaviour.take(what, call="create", gpu=ask.machine.gpu_name)
