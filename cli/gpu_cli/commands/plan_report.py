"""A plan, for scripts and for people."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpu_cli.commands.documents import iso
from gpu_cli.commands.speeds import MEASURED, speed_source
from gpu_cli.planner.offers.break_even import cheapest_rival, serverless_break_even
from gpu_cli.ui.output import Table
from gpu_cli.units import format_duration, format_usd
from gpu_providers.base import Kind

if TYPE_CHECKING:
    from gpu_cli.fleet.market.market import Answer, Market
    from gpu_cli.planner.rank import Candidate, Plan, Reason
    from gpu_providers.base import Offer

Ranked = tuple[int, "Candidate"]

SHOWN_CANDIDATES, SHOWN_REASONS = 12, 3


def plan_document(plan: "Plan") -> Mapping[str, object]:
    """Candidates in order, and what will not do."""
    offers = plan.offers
    return {
        "candidates": [_candidate(candidate, rank, offers) for rank, candidate in enumerate(plan.candidates, start=1)],
        "rejected": [
            {
                "provider": out.offer.provider,
                "gpu": out.offer.gpu,
                "gpu_count": out.offer.gpu_count,
                "price_usd_per_hour": out.offer.price_usd_per_hour,
                "reason": out.reason,
            }
            for out in plan.rejected
        ],
        "note": plan.note,
    }


def providers_document(market: "Market") -> Mapping[str, object]:
    """What each provider answered."""
    return {name: _answer(answer) for name, answer in market.answers.items()}


def plan_table(plan: "Plan", *, everything: bool) -> Table:
    """The candidates, the first the one to take."""
    ranked = list(enumerate(plan.candidates, start=1))
    shown = ranked if everything else _distinct(ranked)[:SHOWN_CANDIDATES]
    return Table(
        ("#", "WHERE", "GPU", "$/H", "SESSION", "FIT", "TOK/S", "$/MTOK", "START"),
        tuple(_row(candidate, rank) for rank, candidate in shown),
    )


def _distinct(candidates: "Sequence[Ranked]") -> "Sequence[Ranked]":
    """Of the same hardware at one cloud, only the first: regions and hosts differ too little to decide by."""
    found: dict[tuple[object, ...], Ranked] = {}
    for ranked in candidates:
        offer = ranked[1].offer
        found.setdefault((offer.provider, offer.kind, offer.gpu, offer.gpu_count, offer.interruptible), ranked)
    return list(found.values())


def plan_prose(plan: "Plan", market: "Market", *, everything: bool) -> tuple[str, ...]:
    """Where the prices are from, who could not be asked, why the rest will not do, and why the first is first."""
    first = f"{len(plan.candidates)} candidates; the first: {plan.candidates[0].why}"
    return (
        *price_ages(market),
        *silent_providers(market),
        *unknown_stock([each.offer for each in plan.candidates]),
        *why_not(plan, everything=everything),
        first,
        *_seen_starts(plan),
        *_measured_speeds(plan),
        *_while_it_runs(plan),
    )


def silent_providers(market: "Market") -> Sequence[str]:
    """Those that were asked in vain, and why."""
    silent = ((name, answer) for name, answer in market.answers.items() if answer.failed and not answer.from_snapshot)
    return [f"{name}: {answer.problem}{f' ({answer.hint})' if answer.hint else ''}" for name, answer in silent]


def unknown_stock(offers: "Iterable[Offer]") -> Sequence[str]:
    """The clouds of which nobody knows beforehand whether an order finds its cards."""
    silent = dict.fromkeys(offer.provider for offer in offers if not offer.stock_known)
    return [f"{name} does not say what is in stock: an order may wait for its cards" for name in silent]


def _seen_starts(plan: "Plan") -> Sequence[str]:
    """What the mark at a start means."""
    if not any(candidate.session.learnt.starts for candidate in plan.candidates):
        return ()
    return (f"START with {MEASURED}: by how yours went there before (gpu history)",)


def _measured_speeds(plan: "Plan") -> Sequence[str]:
    """What the mark at a speed means."""
    days = [datetime.fromtimestamp(each.measured.at, UTC) for each in plan.candidates if each.measured]
    return (f"TOK/S with {MEASURED}: measured by gpu bench ({_from_to(days)})",) if days else ()


def plan_messages(plan: "Plan") -> tuple[str, ...]:
    """What vLLM would be told."""
    first = plan.candidates[0]
    flags = " ".join(first.configuration.flags) if first.configuration else ""
    return (f"its flags: {flags}",) if flags else ()


def _while_it_runs(plan: "Plan") -> Sequence[str]:
    """Of the first candidate that is serverless: up to which use it is the cheaper way to rent its GPUs."""
    offer = next((each.offer for each in plan.candidates if each.offer.kind is Kind.SERVERLESS), None)
    rival = cheapest_rival(offer, plan.offers) if offer else None
    if not offer or not rival:
        return ()
    share = serverless_break_even(offer, rival)
    busy = f"as long as it is busy less than {share:.0%} of the time" if share < 1 else "however busy it is"
    rivals = f"the cheapest pod or VM of the same GPUs ({rival.provider}, {format_usd(rival.price_usd_per_hour)}/h)"
    bills = f"{offer.offer_id} costs {format_usd(offer.price_usd_per_hour)}/h while a worker runs and nothing otherwise"
    return (f"{bills}: less than {rivals} {busy}",)


def _candidate(candidate: "Candidate", rank: int, offers: "Sequence[Offer]") -> Mapping[str, object]:
    offer, sizing, tokens_per_s = candidate.offer, candidate.sizing, candidate.output_tokens_per_s
    usd = candidate.usd_per_million_output_tokens
    rival = cheapest_rival(offer, offers)
    return {
        "rank": rank,
        "provider": offer.provider,
        "kind": str(offer.kind),
        "gpu": offer.gpu,
        "gpu_count": offer.gpu_count,
        "region": offer.region,
        "offer_id": offer.offer_id,
        "interruptible": offer.interruptible,
        "price_usd_per_hour": offer.price_usd_per_hour,
        "price_parts": {**offer.price_parts, **_once(candidate)},
        "serverless_break_even": round(serverless_break_even(offer, rival), 4) if rival else None,
        "session_cost_usd": round(candidate.session.cost_usd, 6),
        "verdict": str(sizing.verdict) if sizing else None,
        "kv_cache_tokens": sizing.kv_cache_tokens if sizing else None,
        "max_concurrency": round(sizing.max_concurrency, 4) if sizing else None,
        "decode_tokens_per_s_total": tokens_per_s and round(tokens_per_s, 4),
        "usd_per_million_output_tokens": None if usd is None else round(usd, 6),
        **speed_source(candidate.measured, is_estimated=candidate.speed is not None),
        "expected_start_s": round(candidate.session.start_s, 3),
        **_known_from(candidate),
        "engine_args": list(candidate.configuration.flags) if candidate.configuration else None,
        "why": candidate.why,
    }


def _known_from(candidate: "Candidate") -> Mapping[str, object]:
    """Whose starts tell what to expect, and how many of them."""
    session, learnt = candidate.session, candidate.session.learnt
    return {
        "expected_start_source": f"measured {learnt.where}" if learnt.starts else "terms",
        "expected_odds": round(session.odds, 4),
        "starts_seen": learnt.starts,
        "starts_failed": learnt.failed,
    }


def _once(candidate: "Candidate") -> Mapping[str, float]:
    """Beside the parts of an hour: what the start costs in traffic, USD, where that is billed."""
    traffic_usd = candidate.session.traffic_usd
    return {"traffic_once": round(traffic_usd, 6)} if traffic_usd else {}


def _answer(answer: "Answer") -> Mapping[str, object]:
    as_of = answer.prices_as_of
    return {
        "ok": answer.ok,
        "offers": len(answer.offers),
        "seconds": round(answer.seconds, 3),
        "prices_as_of": iso(as_of.timestamp()) if as_of else None,
        "snapshot": answer.from_snapshot,
        "error": answer.problem or None,
    }


def _row(candidate: "Candidate", rank: int) -> tuple[str, ...]:
    offer, sizing, tokens_per_s = candidate.offer, candidate.sizing, candidate.output_tokens_per_s
    usd = candidate.usd_per_million_output_tokens
    where = f"{offer.provider}{_marked(offer)}"
    gpu = offer.gpu if offer.gpu_count < 2 else f"{offer.gpu} x{offer.gpu_count}"
    return (
        str(rank),
        where,
        gpu,
        format_usd(offer.price_usd_per_hour),
        format_usd(candidate.session.cost_usd),
        str(sizing.verdict) if sizing else "",
        f"{tokens_per_s:.0f}{MEASURED if candidate.measured else ''}" if tokens_per_s else "",
        "" if usd is None else f"{usd:.2f}",
        f"{format_duration(60 * math.ceil(candidate.session.start_s / 60))}{_seen_mark(candidate)}",
    )


def _seen_mark(candidate: "Candidate") -> str:
    return MEASURED if candidate.session.learnt.starts else ""


def _marked(offer: "Offer") -> str:
    """What its price is to be read with."""
    if offer.kind is Kind.SERVERLESS:
        return " serverless"
    return " spot" if offer.interruptible else ""


def price_ages(market: "Market") -> Sequence[str]:
    """Of which days the prices are that nobody could be asked for."""
    snapshot = market.snapshot_providers
    if not snapshot:
        return ()
    days = [offer.prices_as_of for name in snapshot for offer in market.answers[name].offers]
    return (f"prices of {', '.join(snapshot)} are from a snapshot ({_from_to(days)}), not from today",)


def _from_to(times: Sequence[datetime]) -> str:
    """The days on which they are."""
    days = sorted({f"{time:%Y-%m-%d}" for time in times})
    return days[0] if len(days) < 2 else f"{days[0]} to {days[-1]}"


def why_not(plan: "Plan", *, everything: bool) -> Sequence[str]:
    """Each reason once, with the number of offers that it holds for, or every offer with its own."""
    if everything:
        return [f"not {out.offer.offer_id}: {out.reason}" for out in plan.rejected]
    reasons = plan.reasons()
    shown = [f"not {_named(each)}: {each.text}" for each in reasons[:SHOWN_REASONS]]
    more = len(reasons) - SHOWN_REASONS
    return [*shown, f"and {more} more reasons (--all shows them)"] if more > 0 else shown


def _named(reason: "Reason") -> str:
    others = f" and {reason.offers - 1} more" if reason.offers > 1 else ""
    return f"{reason.offer.offer_id}{others}"
