"""All checks, one after the other: what each is called, who promises it, and what came of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import httpx
import openai

from gpu_cli.check import basics, closed, context, load, streaming, structured, tools
from gpu_cli.check.finding import Broken, Cannot, Finding, Outcome, Skipped
from gpu_cli.check.promises import Promises
from gpu_cli.check.target import MISREAD, Target, still_answers

LONGEST_DETAIL = 160
_BREACHES = (Broken, openai.OpenAIError, httpx.HTTPError, *MISREAD)


@dataclass(frozen=True)
class Promise:
    """Who says that it is so."""

    holds_for: Callable[[Promises], bool]
    missing: str = ""
    """What a recipe lacks that does not say so: then there is nothing to ask."""


BY_THE_API = Promise(lambda _: True)
BY_A_RECIPE = Promise(lambda promises: bool(promises.recipe))
WITH_TOOLS = Promise(lambda promises: promises.tools, "its recipe has no tool_call_parser")
WITH_REASONING = Promise(lambda promises: promises.reasoning, "its recipe has no reasoning_parser")


@dataclass(frozen=True)
class Check:
    """One thing that clients expect. Scripts know it by `check_id`, which never changes its meaning."""

    check_id: str
    name: str
    run: Callable[[Target], str]
    """What it found, in a few words. Raises Broken, Cannot, Skipped, or what the clients raise."""
    promise: Promise = BY_THE_API

    def is_promised(self, promises: Promises) -> bool:
        """To those who use an endpoint with these promises."""
        return self.promise.holds_for(promises)


CHECKS = (
    Check("models", "lists its model", basics.lists_its_model),
    Check("private", "TLS or loopback", closed.is_private_on_the_way),
    Check("closed-routes", "every route wants the key", closed.refuses_without_the_key),
    Check("chat", "answers a chat", basics.answers_a_chat),
    Check("stream", "streams to the end", streaming.streams_to_the_end),
    Check("stream-usage", "counts tokens of a stream", streaming.counts_tokens_of_a_stream),
    Check("stop", "stops at stop strings", basics.stops_where_told),
    Check("logprobs", "tells logprobs", basics.tells_logprobs),
    Check("json-mode", "answers in JSON", structured.answers_in_json),
    Check("json-schema", "answers by a JSON schema", structured.answers_by_a_schema),
    Check("reasoning", "keeps thoughts apart", basics.keeps_thoughts_apart, WITH_REASONING),
    Check("tool-call", "calls a tool", tools.calls_a_tool, WITH_TOOLS),
    Check("tool-call-stream", "calls a tool in a stream", tools.calls_a_tool_in_a_stream, WITH_TOOLS),
    Check("tool-calls-parallel", "calls several tools at once", tools.calls_several_tools, WITH_TOOLS),
    Check("tool-call-forced", "calls the tool it is told", tools.calls_what_it_is_told, WITH_TOOLS),
    Check("tool-call-needless", "calls none without need", tools.calls_nothing_needlessly, WITH_TOOLS),
    Check("cancelled-stream", "frees what is cancelled", streaming.frees_the_slot_of_a_cancelled_stream),
    Check("many-at-once", "answers many at once", load.answers_many_at_once),
    Check("context", "takes the promised context", context.takes_what_it_promises, BY_A_RECIPE),
    Check("context-exceeded", "refuses more than that", context.refuses_more_than_it_takes, BY_A_RECIPE),
)


def run_checks(target: Target, *, told: Callable[[str], object] = lambda _: None) -> Iterator[Finding]:
    """What each check finds, as it finds it. `told` gets the name of each that begins.

    Once the endpoint does not answer any more, the rest is skipped.
    """
    gone = False
    for check in CHECKS:
        told(check.name)
        if gone:
            yield _unasked(check, target, Outcome.SKIPPED, "the endpoint does not answer any more")
        elif target.promises.recipe and not check.is_promised(target.promises):
            yield _unasked(check, target, Outcome.CANNOT, check.promise.missing)
        else:
            finding = _finding(check, target)
            gone = finding.outcome is not Outcome.OK and not still_answers(target)
            yield replace(finding, outcome=Outcome.FAILED) if gone else finding


def _unasked(check: Check, target: Target, outcome: Outcome, why: str) -> Finding:
    return Finding(check.check_id, check.name, check.is_promised(target.promises), outcome, why, 0.0)


def _finding(check: Check, target: Target) -> Finding:
    promised, began = check.is_promised(target.promises), time.monotonic()
    outcome, detail = _outcome(check, target, promised=promised)
    shown = _in_short(detail.replace(target.key.reveal(), "***"))
    return Finding(check.check_id, check.name, promised, outcome, shown, time.monotonic() - began)


def _outcome(check: Check, target: Target, *, promised: bool) -> tuple[Outcome, str]:
    try:
        return Outcome.OK, _answer(check, target)
    except Skipped as reason:
        return Outcome.SKIPPED, str(reason)
    except Cannot as reason:
        return Outcome.CANNOT, str(reason)
    except _BREACHES as breach:
        return Outcome.FAILED if promised else Outcome.CANNOT, _in_words(breach)


def _answer(check: Check, target: Target) -> str:
    try:
        return check.run(target)
    except openai.APIStatusError as error:
        raise target.refused(error.status_code, error.response.text) from error


def _in_words(breach: Exception) -> str:
    if isinstance(breach, Broken):
        return str(breach)
    if isinstance(breach, openai.APITimeoutError | httpx.TimeoutException):
        return "no answer came in time"
    if isinstance(breach, openai.OpenAIError | httpx.HTTPError):
        return f"it did not answer: {type(breach.__cause__ or breach).__name__}"
    return f"its answer does not have the form of OpenAI's ({type(breach).__name__}: {breach})"


def _in_short(detail: str) -> str:
    """One line without what could steer a terminal."""
    line = "".join(letter for letter in " ".join(detail.split()) if letter.isprintable())
    return line if len(line) <= LONGEST_DETAIL else f"{line[:LONGEST_DETAIL]}…"
