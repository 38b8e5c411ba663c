"""`gpu up` on what runs already."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import Cloud, deployment, make_fleet

from gpu_cli import __version__
from gpu_cli.config.settings import Settings, resolve_limits
from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.up import bring_up
from gpu_cli.locks import Lock, released
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Link

RECIPE = parse_recipe("name: tiny\nmodel: A/B\n", Path("/tiny.yaml"), shown="tiny.yaml")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """With a guard at work, as far as anyone can tell, and one resource at the cloud."""
    cloud = Cloud()
    cloud.add("gpu-tiny-1")
    fleet = make_fleet(tmp_path, cloud)
    with released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        yield fleet
    fleet.store.close()


def up_again(fleet: Fleet, link: Link) -> Deployment:
    fleet.store.add(deployment(recipe_digest=RECIPE.digest(), link=link))
    wanted = Wanted(RECIPE, "tiny", resolve_limits(Settings({}, ()), RECIPE, {}))
    with released(fleet.launch_lock("tiny")) as lock:
        return bring_up(fleet, wanted, lock, provider=None, progress=Silent(), tried=[])


def test_what_runs_already_is_used_as_it_is(fleet: Fleet) -> None:
    assert up_again(fleet, Link.DIRECT).base_url == "http://cloud/v1"


def test_what_runs_behind_a_forwarder_needs_one_that_works(fleet: Fleet) -> None:
    with pytest.raises(UserError) as refused:
        up_again(fleet, Link.TLS)
    assert refused.value.code == "no-certificate"
    assert fleet.store.get("gpu-tiny-1").is_live, "another machine may have its certificate"


def test_what_another_process_still_checks_is_waited_for(fleet: Fleet) -> None:
    """It is up, and tied to that process until it has passed."""
    fleet.store.add(deployment(recipe_digest=RECIPE.digest(), link=Link.DIRECT, tied=True))
    waits: list[str] = []

    class Patient(Silent):
        def detail(self, text: str) -> None:
            waits.append(text)
            fleet.store.update("gpu-tiny-1", tied=False)

    wanted = Wanted(RECIPE, "tiny", resolve_limits(Settings({}, ()), RECIPE, {}))
    with released(fleet.launch_lock("tiny")) as other, released(fleet.launch_lock("tiny")) as lock:
        assert other.try_acquire()
        assert bring_up(fleet, wanted, lock, provider=None, progress=Patient(), tried=[]).is_live
    assert waits == ["another gpu is launching tiny"]
