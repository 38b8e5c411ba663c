"""What nothing but this machine would end is ordered on the user's word only."""

from collections.abc import Callable

import pytest
from driver import Gpu

from gpu_cli.exits import Exit

RENTS_WHAT_CANNOT_END_ITSELF = """
from datetime import UTC, datetime
from gpu_providers.base import Kind, Offer, Provider
from gpu_providers.errors import *

class Plugged(Provider):
    name = "plugged"
    poll_interval_s = 0.1
    def offers(self, search):
        return [Offer("plugged", Kind.VM, "plugged-1", "L4", 1, 22.5, "here", 0.8, {}, datetime.now(UTC))]
    def launch(self, request): raise NoCapacity("sold out")
    def why_no_offers(self, search): return ""
    def find(self, name): return None
    def describe(self, resource_id): raise NotFound(resource_id)
    def terminate(self, resource_id): pass
    def list_resources(self): return []
    def logs(self, resource_id, *, tail=None, follow=False, stop=None): return iter(())
    def check(self): return []
"""


@pytest.fixture
def vm(plug_in: Callable[..., None], rentable: Callable[..., str]) -> str:
    """A recipe that says nothing of a TTL, for a cloud whose machines cannot end themselves."""
    plug_in(module=RENTS_WHAT_CANNOT_END_ITSELF)
    return rentable("L4", limits={"idle": "60s"})


@pytest.mark.parametrize("command", [["up"], ["run"]], ids=" ".join)
def test_without_a_word_it_is_not_ordered(gpu: Gpu, vm: str, command: list[str]) -> None:
    ran = gpu(*command, vm, "--provider", "plugged", *(["--", "true"] if command == ["run"] else ["--json"]))
    assert ran.exit == Exit.BAD_INPUT
    assert "machines of plugged cannot end themselves" in ran.stderr
    assert "hint: say --ttl 4h, or --yes, or have it watched: gpu guard install" in ran.stderr
    if command == ["up"]:
        assert ran.error["code"] == "nothing-ends-it"
    assert gpu.ls() == []


def test_with_a_word_it_is_ordered(gpu: Gpu, vm: str) -> None:
    ran = gpu("up", vm, "--provider", "plugged", "--json", "--yes")
    assert (ran.exit, ran.error["code"]) == (Exit.LAUNCH_FAILED, "not-launched"), ran.stderr


def test_it_can_be_looked_at_without_a_word(gpu: Gpu, vm: str) -> None:
    assert gpu("plan", vm, "--provider", "plugged").exit == Exit.DONE
    assert gpu("up", vm, "--provider", "plugged", "--dry-run").exit == Exit.DONE
