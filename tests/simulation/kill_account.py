"""An account at an emulated cloud, a user of it, and something healthy of theirs that nothing here may touch."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from emulators.cloud import Cloud
from emulators.modal_cloud import ModalEmulator
from emulators.witness import Witness
from kill_points import Point, Trap
from kill_server import PATIENCE_S, Ended, Forked, KillServer

BYSTANDER, VICTIM = "bystander", "victim"
ENDED = ("gone", "failed")
RECIPE: Mapping[str, object] = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "context": 8192}
"""Of a model whose facts are known without a network."""


class Account:
    """The world of one test; a context manager. The first home is `home`."""

    def __init__(
        self,
        cloud: Cloud,
        provider: str,
        folder: Path,
        environ: Mapping[str, str],
        *,
        up: Sequence[str] = (),
    ) -> None:
        """`up` are options of every `gpu up`."""
        self.cloud = cloud
        self.provider = provider
        self.folder = folder
        self.home = folder / "home"
        self.healthy: list[str] = []
        """What nothing may touch, as `left` has it."""
        self.trap = Trap()
        self._up = up
        folder.mkdir(exist_ok=True)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(RECIPE)))
        self.server = KillServer({**environ, **cloud.env, "GPU_HOME": str(self.home)}, folder)
        self._open = ExitStack()

    def __enter__(self) -> "Account":
        self._open.enter_context(self.server)
        return self

    def __exit__(self, *_: object) -> None:
        self.cloud.witness = Witness()
        self._open.close()

    # What its user does.

    def start(self, *arguments: str, home: Path | None = None, env: Mapping[str, str] = {}) -> Forked:
        """`gpu`, which finds no offers of earlier runs."""
        home = home or self.home
        shutil.rmtree(home / "cache", ignore_errors=True)
        return self.server.start(*arguments, env={**env, "GPU_HOME": str(home)})

    def run(self, *arguments: str, home: Path | None = None, env: Mapping[str, str] = {}) -> Ended:
        """To its end."""
        return self.start(*arguments, home=home, env=env).result()

    def up(self, name: str = VICTIM) -> Sequence[str]:
        """The arguments."""
        return ("up", "recipe.yaml", "--provider", self.provider, "--name", name, "--json", *self._up)

    def bring_up_bystander(self) -> None:
        """Something healthy, on record in the first home."""
        self.bring_up(BYSTANDER)
        self.healthy = self.left()

    def bring_up(self, name: str, *, home: Path | None = None) -> None:
        """To the end."""
        up = self.run(*self.up(name), home=home)
        assert up.exit == 0, up.stderr

    def start_guard(self) -> Forked:
        """As the next command would."""
        return self.server.start_guard(self.home / "state" / "logs" / "guard.log")

    def make_overdue(self) -> None:
        """Something that has to be ended, and nobody at work who would."""
        self.bring_up(VICTIM)
        self.server.kill_all()
        with self._record() as record:
            record.execute("UPDATE deployments SET deadline_at = launched_at WHERE name = ?", [VICTIM])

    # What becomes of it.

    def calls_of(self, start: Callable[[], Forked]) -> Sequence[str]:
        """All that such a command asks of the cloud when nothing befalls it."""
        with self._watched(start) as command:
            ended = command.result()
        assert ended.exit == 0, ended.stderr
        return self.trap.calls

    def calls_of_guard(self, is_over: Callable[[], object]) -> Sequence[str]:
        """All that a guard asks of the cloud until then."""
        with self._watched(self.start_guard) as guard:
            assert settled(is_over, within_s=PATIENCE_S)
            self.server.kill(guard.pid)
        return self.trap.calls

    def kill_at(self, point: Point, start: Callable[[], Forked], *, guard_too: bool) -> Ended:
        """The command that is started, killed at that point if it comes there."""
        strike = self.server.kill_all if guard_too else lambda: self.server.kill(self.trap.pid)
        with self._watched(start, point, strike) as command:
            return command.result()

    def kill_guard_at(self, point: Point, is_over: Callable[[], object]) -> None:
        """A guard that is started, killed at that point, or once that is so."""
        with self._watched(self.start_guard, point, self.server.kill_all):
            assert settled(lambda: self.trap.struck or is_over(), within_s=PATIENCE_S)
            self.server.kill_all()

    @contextmanager
    def _watched(
        self, start: Callable[[], Forked], point: Point | None = None, strike: Callable[[], None] = lambda: None
    ) -> Iterator[Forked]:
        """A process, with all that it asks of the cloud seen."""
        self.trap.reset(point, strike)
        self.cloud.witness = self.trap
        started = start()
        self.trap.watch(started.pid)
        try:
            yield started
        finally:
            self.cloud.witness = Witness()

    def living(self) -> list[str]:
        """The names of all that exists at the cloud, and so may bill."""
        return [str(one["name"]) for one in self.cloud.bill()["resources"] if one["alive"]]

    def left(self) -> list[str]:
        """The same, and the keys that were made for it."""
        keys = self.cloud.proxy_tokens if isinstance(self.cloud, ModalEmulator) else ()
        return [*self.living(), *(f"token {key.name}" for key in keys)]

    def on_record(self) -> set[str]:
        """The names of what lives by the record of the first home."""
        with self._record() as record:
            return {name for (name,) in record.execute("SELECT name FROM deployments WHERE state NOT IN (?, ?)", ENDED)}

    @contextmanager
    def _record(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.home / "state" / "gpu.db", timeout=PATIENCE_S)) as connection, connection:
            yield connection


def settled(look: Callable[[], object], *, within_s: float) -> bool:
    """Whether it came to be so in time."""
    give_up_at = time.monotonic() + within_s
    while not look():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


Open = Callable[..., Account]
"""Opens one, by the cloud's name; `plant` is a bug, `engine` what runs there, `options` those of every `gpu up`."""
Count = Callable[[Sequence[Any]], Sequence[Any]]
"""Takes points at which something is killed, and gives them back."""
