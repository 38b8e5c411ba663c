"""What the fleet makes of spoiled answers: no teardown may end while the cloud still has the resource."""

import random
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unittest import mock

from answers import NOW, Replay, Time
from answers_judged import says_gone
from answers_recorded import Recorded, Recording
from mutations import Answer, some_edits, spoiled

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.end import teardown
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.recover import described
from gpu_cli.fleet.store import Store
from gpu_cli.paths import Paths

SPOILED = 0.6
"""The share of answers that are."""
PATIENCE_S, POLL_S = 30.0, 5.0


def wrongly_ended(cloud: Recorded, seed: int, home: Path | None) -> str:
    """Ends what does not end: the cloud says yes to every request to end it, and goes on showing it.

    Of its answers many are spoiled. What is wrong, in a line; empty where the teardown has not been misled.
    """
    source = random.Random(seed)
    looks = [one for one in cloud.recordings if one.resource and one.call.startswith(("describe", "find"))]
    recording = source.choice(looks)
    others = [exchange.answer for one in looks for exchange in one.exchanges]

    def spoil(_: int, answer: Answer) -> Answer:
        return spoiled(answer, some_edits(source, answer, others)) if source.random() < SPOILED else answer

    replay = cloud.world(recording, spoil)
    with tempfile.TemporaryDirectory() as folder:
        knows_id = source.random() < 0.5
        ended = _ended(cloud, recording, replay, home or Path(folder), knows_id=knows_id)
    assert recording.resource
    if ended and not says_gone(cloud.cloud, recording.resource, replay.given, by_name=not knows_id):
        return f"{recording.call}: ended after {[answer.body[:200] for _, answer in replay.given[-4:]]}"
    return ""


def _ended(cloud: Recorded, recording: Recording, replay: Replay, home: Path, *, knows_id: bool) -> bool:
    """Whether the teardown says so. Any other error than that it is not confirmed is raised."""
    assert recording.resource
    one = described(recording.resource, NOW)
    one = one if knows_id else replace(one, resource_id="")
    paths = Paths(home / "config", home / "state", home / "cache")
    with (
        cloud.played(replay) as provider,
        closing(Store(paths.state / "gpu.db").open()) as store,
        mock.patch.object(teardown, "VERIFY_DEADLINE_S", PATIENCE_S),
        mock.patch.object(provider, "terminate"),
        mock.patch.object(provider, "poll_interval_s", POLL_S),
    ):
        fleet = Fleet(paths, {}, store, _Clock(cloud.time), {cloud.cloud: provider})
        try:
            teardown.destroy(fleet, replace(one, launched_at=NOW - 600))
        except UserError as error:
            if error.exit_status is not Exit.CLEANUP_UNCONFIRMED:
                raise
            return False
    return True


class _Clock(Clock):
    def __init__(self, time: Time) -> None:
        self.now = time.now  # type: ignore[method-assign]
        self.sleep = time.sleep  # type: ignore[method-assign]
