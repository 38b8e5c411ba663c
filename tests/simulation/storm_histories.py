"""How histories come about: by chance, and by the seed alone."""

import random
from collections.abc import Sequence

import storm_rules
from storm import IDLES_S, START_DEADLINE_S, TTL_S, History, Step
from virtual_clouds import CLOUDS
from world import SLEEP

NAMES = ("ada", "bob", "eve")


def some_history(seed: int, clouds: Sequence[str] = tuple(CLOUDS)) -> History:
    """The one of this seed."""
    at = random.Random(seed)
    chosen = tuple(sorted(at.sample(list(clouds), at.randint(1, len(clouds)))))
    steps = [step for _ in range(at.randint(3, 7)) for step in _some_steps(at, chosen)]
    return History(seed, chosen, tuple(steps))


def _some_steps(at: random.Random, clouds: Sequence[str]) -> list[Step]:
    weights = {_up: 5, _weather: 6, _down: 2, _ls: 1, _gc: 2, _wait: 4, _use: 2, _kill: 3, _suspend: 1, _mend: 1}
    weights |= {_adopt: 1, _lose: 1}
    (kind,) = at.choices(list(weights), list(weights.values()))
    return kind(at, clouds)


def _up(at: random.Random, clouds: Sequence[str]) -> list[Step]:
    options = ["--name", at.choice(NAMES), "--idle", f"{at.choice(IDLES_S)}s", "--ttl", f"{TTL_S}s"]
    options += ["--start-deadline", f"{START_DEADLINE_S}s", "--boot-deadline", f"{at.choice((40, 100))}s"]
    for odds, more in (*_SOMETIMES, (0.3, ("--provider", at.choice(clouds)))):
        options += more if at.random() < odds else []
    in_background = at.random() < 0.5
    if at.random() < 0.1:
        command = ("run", "RECIPE", *options, "--", SLEEP, str(at.choice((20, 200))))
    else:
        ways = ((), ("--no-wait",), ("--race", "2"), ("--race", "3"), ("--json",), ("--retry-until-up",))
        waits = in_background and "--serverless" not in options  # it may wait for the end of the storm
        odds = (10, 5, 2, 1, 2, 3 if waits else 0)
        command = ("up", "RECIPE", *options, *at.choices(ways, odds)[0])
    step: Step = ("start" if in_background else "gpu", *command)
    return [step, *(_trouble(at) if in_background else [])]


_SOMETIMES = (
    (0.15, ("--spot",)),
    (0.15, ("--budget", "0.05")),
    (0.1, ("--attempts", "2")),
    (0.1, ("--budget-group", "all=0.06")),
    (0.05, ("--serverless",)),
)


def _trouble(at: random.Random) -> list[Step]:
    """For a command under way."""
    return at.choice(
        (
            [],
            [("wait", round(at.uniform(1, 30), 1)), ("kill",)],
            [("kill_at", at.randint(1, 12), at.choice(("before", "after")))],
            [("wait", round(at.uniform(1, 30), 1)), ("interrupt",)],
        )
    )


def _weather(at: random.Random, clouds: Sequence[str]) -> list[Step]:
    chosen = [at.choice(clouds) for _ in range(at.randint(1, 5))]
    return [("rule", cloud, storm_rules.some_rule(at, cloud, tuple(CLOUDS[cloud].WORDS))) for cloud in chosen]


def _down(at: random.Random, _: Sequence[str]) -> list[Step]:
    which = at.choice((["--all"], [at.choice(NAMES)]))
    return [(at.choice(("gpu", "start")), "down", *which)]


def _ls(at: random.Random, _: Sequence[str]) -> list[Step]:
    return [("gpu", "ls", *at.choice(([], ["--remote"], ["--remote", "--json"])))]


def _adopt(at: random.Random, _: Sequence[str]) -> list[Step]:
    return [("gpu", *at.choice((("adopt", "--all"), ("adopt", at.choice(NAMES)), ("gc", "--adopt"))))]


def _lose(at: random.Random, clouds: Sequence[str]) -> list[Step]:
    """Mostly somebody notices."""
    return [("lose_state",), *at.choice((_adopt, _gc, _ls, _wait, _up))(at, clouds)]


def _gc(at: random.Random, _: Sequence[str]) -> list[Step]:
    return [("gpu", "gc", "--yes", *at.choice(([], ["--json"], ["--dry-run"])))]


def _wait(at: random.Random, _: Sequence[str]) -> list[Step]:
    return [("wait", at.choice((10.0, 40.0, 120.0)))]


def _use(at: random.Random, _: Sequence[str]) -> list[Step]:
    return [at.choice((("use", at.choice((5.0, 60.0))), ("use", 5.0), ("break",)))]


def _kill(at: random.Random, _: Sequence[str]) -> list[Step]:
    return [at.choice((("kill_guard",), ("kill_guard",), ("kill",), ("interrupt",)))]


def _suspend(at: random.Random, _: Sequence[str]) -> list[Step]:
    return [("suspend", at.choice((20.0, 200.0, 1000.0)))]


def _mend(at: random.Random, clouds: Sequence[str]) -> list[Step]:
    return [("mend", at.choice(clouds))]
