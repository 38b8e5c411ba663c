"""What the proofs that nothing leaks have in common, whatever the cloud."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from driver import Gpu, Ran, Running, wait_until
from emulators.cloud import Cloud

DEADLINES = ("--boot-deadline", "30s", "--start-deadline", "60s")
HASTY = ("--boot-deadline", "3s")
"""Where a host is to be given up that shows no progress; others may take their time on a machine that is busy."""
Rule = Mapping[str, Any]


class Account:
    """The program, a recipe that a rented machine can serve, and the cloud where that machine is."""

    def __init__(self, gpu: Gpu, cloud: Cloud, provider: str, recipe: Mapping[str, Any] = {}) -> None:
        """`recipe` is what it says besides its model."""
        self.gpu = gpu
        self.cloud = cloud
        self._provider = provider
        self._recipe = recipe

    def recipe(self, misbehaviour: Mapping[str, Any] = {}) -> str:
        """Of a model whose facts are known without a network; `misbehaviour` is the stand-in engine's."""
        document = {
            "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "context": 8192,
            "engine": {"env": {"STUB_ENGINE": json.dumps(dict(misbehaviour))}},
            **self._recipe,
        }
        path = self.gpu.cwd / "rented.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def up(self, *options: str) -> Ran:
        return self.gpu(*self._up(*DEADLINES, *options))

    def start_up(self, *options: str, misbehaviour: Mapping[str, Any] = {}) -> Running:
        """Without waiting for it."""
        return self.gpu.start(*self._up(*options, misbehaviour=misbehaviour))

    def _up(self, *options: str, misbehaviour: Mapping[str, Any] = {}) -> Sequence[str]:
        return ("up", self.recipe(misbehaviour), "--provider", self._provider, "--json", *options)

    def asked(self, method: str, part: str) -> bool:
        """Whether the cloud has had such a request."""
        with self.cloud.lock:
            return any(request.method == method and part in request.path for request in self.cloud.requests)

    def made(self) -> Sequence[str]:
        """The ids of all that was ever rented."""
        return [str(one["id"]) for one in self._billed() if not str(one["name"]).endswith(" worker")]

    def alive(self) -> Sequence[str]:
        """The ids of all that exists, and so bills: workers of endpoints, and what is stopped and keeps its disk."""
        return [str(one["id"]) for one in self._billed() if one["alive"]]

    def _billed(self) -> Sequence[Mapping[str, Any]]:
        resources: list[Mapping[str, Any]] = self.cloud.bill()["resources"]
        return resources

    def mend(self) -> None:
        """From now on the cloud behaves."""
        with self.cloud.lock:
            self.cloud.misbehaviour.clear()


@dataclass(frozen=True)
class Case:
    """What the cloud does, and what has to come of it."""

    rules: Sequence[Rule]
    exit: int = 0
    """Of `gpu up`."""
    code: str = ""
    """Of its error."""
    made: int = 1
    """How many resources there were in all."""
    down: int = 0
    """The exit of `gpu down` after an `up` that worked."""
    wait: bool = True
    """Whether an engine is to be seen at work."""
    engine: str = "pretend"
    """What runs then; `stub` where processes in a container matter."""

    def __str__(self) -> str:
        return "+".join("-".join(str(value) for value in rule.values()) for rule in self.rules)


def once(do: str, call: str = "create", **more: Any) -> Rule:
    return {"do": do, "call": call, "times": 1, **more}


def run(account: Account, case: Case, *options: str) -> None:
    """An `up`, whatever comes of it, and its end."""
    account.cloud.engine = case.engine if case.wait else "none"
    account.cloud.misbehave(*case.rules)
    hasty = HASTY if any(rule["do"] == "never-boots" for rule in case.rules) else ()
    up = account.up("--wait" if case.wait else "--no-wait", *hasty, *options)
    assert up.exit == case.exit, up.stderr
    assert "Traceback" not in up.stderr
    if up.exit == 0:
        still_there = [one for one in account.made() if one in account.alive()]
        assert still_there == [up.json["resource_id"].rpartition("/")[2]]
        down = account.gpu("down", "rented", "--json")
        assert down.exit == case.down, down.stderr
    else:
        assert up.error["code"] == (case.code or "not-launched")
    if 9 in (case.exit, case.down):
        assert account.alive()
        account.mend()
        collected = account.gpu("gc", "--yes")
        assert collected.exit == 0, collected.stderr
    assert not account.alive()
    assert len(account.made()) == case.made


@dataclass(frozen=True)
class Moment:
    """When a start is cut short."""

    rules: Sequence[Rule]
    misbehaviour: Mapping[str, Any]
    """The engine's."""
    has_come: Callable[[Account], object]
    """Called under the cloud's lock."""
    options: Sequence[str] = ()


def cut_short(account: Account, moment: Moment) -> Running:
    """A start that has come to this moment."""

    def has_come() -> object:
        with account.cloud.lock:
            return moment.has_come(account)

    account.cloud.misbehave(*moment.rules)
    up = account.start_up(*moment.options, misbehaviour=moment.misbehaviour)
    wait_until(has_come)
    return up


def loads(hosts: Iterable[Any]) -> bool:
    """Whether the engine on one of these loads its weights."""
    containers = [host.container for host in hosts if host.container]
    return any("Starting to load" in line.line for container in containers for line in container.log.lines())
