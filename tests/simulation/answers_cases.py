"""Bad answers by the thousand: each case is a call of a provider, of whose answers one is spoiled."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from answers import Replay
from answers_judged import problem
from answers_recorded import Recorded, Recording
from mutations import Answer, Edit, some_edits, spoiled


@dataclass(frozen=True)
class Case:
    """The answer of this number to this call, spoiled by these edits."""

    cloud: str
    call: str
    number: int
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class Outcome:
    """How a case went."""

    case: Case
    what: str
    """`parsed`, or the name of the error."""
    problem: str
    """Empty where all is well."""


def some_case(seed: int, clouds: Sequence[Recorded]) -> Case:
    """The same for the same seed and clouds."""
    source = random.Random(seed)
    cloud = source.choice(clouds)
    recording = source.choice([one for one in cloud.recordings if one.exchanges])
    number = source.randrange(len(recording.exchanges))
    others = [exchange.answer for exchange in cloud.everything]
    return Case(cloud.cloud, recording.call, number, some_edits(source, recording.exchanges[number].answer, others))


def outcome(case: Case, clouds: Mapping[str, Recorded]) -> Outcome:
    """Plays it."""
    cloud = clouds[case.cloud]
    recording = recording_of(case, cloud)

    def spoil(number: int, answer: Answer) -> Answer:
        return spoiled(answer, case.edits) if number == case.number else answer

    replay = cloud.world(recording, spoil)
    found = _called(recording, cloud, replay)
    what = type(found).__name__ if isinstance(found, BaseException) else "parsed"
    return Outcome(case, what, problem(recording, replay, found))


def recording_of(case: Case, cloud: Recorded) -> Recording:
    return next(one for one in cloud.recordings if one.call == case.call)


def _called(recording: Recording, cloud: Recorded, replay: Replay) -> object:
    with cloud.played(replay) as provider:
        try:
            return recording.run(provider)
        except Exception as error:  # noqa: BLE001 - what it is is judged
            return error


def shrunk(case: Case, clouds: Mapping[str, Recorded]) -> Case:
    """With as few edits as still have the same kind of problem."""
    kind = outcome(case, clouds).problem[:12]
    for place in reversed(range(len(case.edits))):
        fewer = replace(case, edits=(*case.edits[:place], *case.edits[place + 1 :]))
        if outcome(fewer, clouds).problem[:12] == kind:
            case = fewer
    return case


def play(seeds: range, clouds: Mapping[str, Recorded]) -> tuple[Counter[tuple[str, str, str]], list[Outcome]]:
    """How many cases had which outcome, by cloud and call; and those that have a problem."""
    counts, bad = Counter[tuple[str, str, str]](), list[Outcome]()
    for seed in seeds:
        played = outcome(some_case(seed, list(clouds.values())), clouds)
        counts[played.case.cloud, played.case.call, played.what] += 1
        if played.problem:
            bad.append(played)
    return counts, bad
