"""What a deployment costs, stretch by stretch: each look at it says what it bills at that moment.

A price that changes counts from the look that sees it on, and never backwards.
"""

import math
from dataclasses import replace

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.money.ledger import Segment
from gpu_providers.base import Kind, Resource

OWN_STOP_LATE_S = 60.0
"""How late a supervisor may be with ending what it runs on: it tries again until its cloud takes it."""


def told_usd_per_hour(deployment: Deployment, resource: Resource) -> float | None:
    """What a look at it says that it bills; None where its cloud does not tell prices."""
    tells = deployment.kind is Kind.SERVERLESS or resource.full_price > 0
    return resource.price_usd_per_hour if tells else None


def says_nothing_new(deployment: Deployment, usd_per_hour: float, at: float) -> bool:
    """Whether a look that says so need not be written down: it bills its price, as before, or cannot bill at all.

    That it lives on when it should have ended itself is news: its end is dated by that otherwise.
    """
    if deployment.launched_at is None or not deployment.is_live:
        return True
    if at > ends_itself_by(replace(deployment, reason="idle")):
        return False
    bills_its_price = deployment.rate_usd_per_hour == usd_per_hour == deployment.price_usd_per_hour
    return bills_its_price and deployment.kind is not Kind.SERVERLESS


def looked_at(deployment: Deployment, usd_per_hour: float, at: float) -> tuple[Deployment, Segment]:
    """As it is after a look that says what it bills, with what has passed since the last one."""
    since = deployment.metered_until(at)
    passed = Segment(since, max(since, at), _rate_until_now(deployment, usd_per_hour))
    return replace(_metered(deployment, passed), rate_usd_per_hour=usd_per_hour), passed


def ended(deployment: Deployment, billed_s: float, step_s: float) -> tuple[Deployment, Segment]:
    """As it is after its end, with what has passed since the last look.

    `billed_s` is how long it was billed until then: a cloud bills what is begun of its step whole. Of what scales to
    zero nothing has passed that nobody saw.
    """
    since, usd_per_hour = deployment.metered_until(0.0), deployment.current_usd_per_hour
    if deployment.launched_at is None or deployment.ended_at is None or deployment.kind is Kind.SERVERLESS:
        return deployment, Segment(since, since, 0.0)
    lasted_s = max(0.0, deployment.ended_at - since)
    if usd_per_hour > 0:
        lasted_s = math.ceil(round(billed_s + lasted_s, 3) / step_s) * step_s - billed_s
    passed = Segment(since, since + lasted_s, usd_per_hour)
    return _metered(deployment, passed), passed


def ends_itself_by(deployment: Deployment) -> float:
    """By when one that ended for its reason, without this side, had done so; infinite where that is not known."""
    if not deployment.own_stop_armed or deployment.kind is Kind.SERVERLESS:
        return math.inf
    idle_since = deployment.active_at if deployment.reason == "idle" else None
    at = deployment.deadline_at if idle_since is None else min(deployment.deadline_at, idle_since + deployment.idle_s)
    return at + OWN_STOP_LATE_S


def _metered(deployment: Deployment, passed: Segment) -> Deployment:
    return replace(deployment, metered_usd=(deployment.metered_usd or 0.0) + passed.usd, metered_at=passed.until)


def _rate_until_now(deployment: Deployment, seen_usd_per_hour: float) -> float:
    """Of the time since the last look, on the side of what costs more.

    Workers that are seen now are taken to have run, and so is what the first look at a start finds. What was ready
    before anyone looked counts at its price. What billed less than its price is looked at all the time, so that a rise
    counts for all of the moment since.
    """
    rate_usd_per_hour, price_usd_per_hour = deployment.rate_usd_per_hour, deployment.price_usd_per_hour
    if deployment.kind is Kind.SERVERLESS:
        return seen_usd_per_hour
    if rate_usd_per_hour is None:
        return seen_usd_per_hour if deployment.ready_at is None else price_usd_per_hour
    return max(rate_usd_per_hour, seen_usd_per_hour) if rate_usd_per_hour < price_usd_per_hour else rate_usd_per_hour
