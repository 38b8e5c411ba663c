"""What every client does first: ask which models there are, ask one of them, wait for the whole answer."""

from collections.abc import Mapping
from typing import Any

from gpu_cli.check.finding import Broken, Cannot, Skipped
from gpu_cli.check.target import Target, only_choice, text_of

FINISHES = ("stop", "length")
COUNTING = "Count from one to fifty in words."
"""Any model answers this with more than a few words."""
TEXT_TOKENS = 20
MOST_STOPS = 4
"""OpenAI's API takes no more at a time."""
TOP_LOGPROBS = 2
ROUNDING = 1e-3
"""Of a logarithm: the surest of tokens may come out a hair above zero."""


def lists_its_model(target: Target) -> str:
    """The model that is asked for is in the list."""
    names = [model.id for model in target.client.models.list()]
    if target.model not in names:
        raise Broken(f"it lists {', '.join(names) or 'nothing'} instead of {target.model}")
    return target.model


def answers_a_chat(target: Target) -> str:
    """There is text, the reason why it ended, and a count of tokens that adds up."""
    request = target.request(COUNTING, max_tokens=TEXT_TOKENS)
    answer = target.client.chat.completions.create(**request)
    choice = only_choice(answer)
    if not text_of(choice.message).strip():
        raise Broken("its answer is empty")
    if choice.finish_reason not in FINISHES:
        raise Broken(f"its answer ended for {choice.finish_reason!r}, which is neither stop nor length")
    if answer.usage is None:
        raise Broken("it does not count tokens (no usage)")
    return f"{check_counts(answer.usage.to_dict(), request, choice.finish_reason)} tokens in all"


def check_counts(usage: Mapping[str, Any], request: Mapping[str, Any], finish_reason: str | None) -> int:
    """All tokens of a request. Raises Broken for a count that does not add up, or not to what was asked for."""
    prompt, answer, total = (usage.get(f"{what}_tokens") or 0 for what in ("prompt", "completion", "total"))
    if min(prompt, answer) < 1 or total != prompt + answer:
        raise Broken(f"its count of tokens does not add up: {prompt} of prompt, {answer} of answer, {total} in all")
    most = request.get("max_tokens") or request["max_completion_tokens"]
    if answer > most or (finish_reason == "length" and answer < most):
        raise Broken(f"it counts {answer} tokens of an answer that ended for {finish_reason} at {most}")
    return int(total)


def stops_where_told(target: Target) -> str:
    """With words of its own answer as stop strings, the answer ends before the first of them."""
    whole = text_of(target.choice(COUNTING, max_tokens=TEXT_TOKENS).message)
    stops = list(dict.fromkeys(whole.split()[1:]))[:MOST_STOPS]
    if not stops:
        raise Skipped("its answer has one word only, and no place to stop at")
    choice = target.choice(COUNTING, max_tokens=TEXT_TOKENS, stop=stops)
    text = text_of(choice.message)
    if ignored := [stop for stop in stops if stop in text]:
        raise Broken(f"it went on beyond {ignored[0]!r}")
    if not whole.startswith(text):  # batched on a GPU, sums come out in another order
        raise Skipped("it answers otherwise when it is asked again")
    if choice.finish_reason != "stop":
        raise Broken(f"it stopped, and gives {choice.finish_reason!r} as the reason")
    return f"before {stops[0]!r}"


def tells_logprobs(target: Target) -> str:
    """Each token comes with its probability, and with those of the likeliest."""
    choice = target.choice(COUNTING, max_tokens=3, logprobs=True, top_logprobs=TOP_LOGPROBS)
    tokens = (choice.logprobs and choice.logprobs.content) or []
    if not tokens:
        raise Broken("its answer has none")
    if any(token.logprob > ROUNDING for token in tokens):
        raise Broken("it gives a logarithm of a probability that is above zero")
    if any(len(token.top_logprobs or ()) < TOP_LOGPROBS for token in tokens):
        raise Broken(f"it does not give the {TOP_LOGPROBS} likeliest tokens of each place")
    return f"{len(tokens)} tokens with the {TOP_LOGPROBS} likeliest each"


def keeps_thoughts_apart(target: Target) -> str:
    """What the model thinks is no part of its answer."""
    room = target.answer_tokens if target.promises.reasoning else TEXT_TOKENS
    message = target.choice("Which is larger, 9.9 or 9.11?", max_tokens=room).message
    if tag := next((tag for tag in ("<think>", "</think>") if tag in (message.content or "")), ""):
        raise Broken(f"its answer has the thoughts in it ({tag})")
    thoughts = getattr(message, "reasoning", None) or getattr(message, "reasoning_content", None)
    if not thoughts:
        raise Cannot("it answered without thinking")
    return f"{len(thoughts.split())} words of thought, apart from the answer"
