"""The checks, against a server that behaves and against every way in which it may not."""

import pytest
from broken_server import CONTEXT_TOKENS, FAULTS, MODEL, BrokenServer, serving

from gpu_cli.check import closed, load, run, streaming
from gpu_cli.check.finding import Finding, Outcome
from gpu_cli.check.promises import Promises
from gpu_cli.check.run import CHECKS, run_checks
from gpu_cli.check.target import reached
from gpu_providers.base import Secret

KEY = "sk-secret"
ALL = Promises(recipe="tiny", context_tokens=CONTEXT_TOKENS, at_once=4, tools=True, reasoning=True)
SLOW = {"closed-routes", "many-at-once", "cancelled-stream"}
"""Left out where a fault does not concern them: they are half of the time."""

ROUTES = {"models", "closed-routes"}
"""Faults of these are in front of all that has the key."""


@pytest.fixture(autouse=True)
def few_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.setattr(closed, "UNLISTED", ("/invocations", "/v1/models/"))


def found(base_url: str, promises: Promises = ALL, *, model: str = MODEL, repeat: int = 2) -> dict[str, Finding]:
    with reached(base_url, Secret(KEY), model, promises, repeat=repeat) as target:
        return {finding.check_id: finding for finding in run_checks(target)}


def of(outcome: Outcome, findings: dict[str, Finding]) -> dict[str, str]:
    return {check_id: finding.detail for check_id, finding in findings.items() if finding.outcome is outcome}


def test_a_server_that_behaves_passes_every_check() -> None:
    with serving(BrokenServer()) as base_url:
        findings = found(base_url)
    assert list(of(Outcome.OK, findings)) == [check.check_id for check in CHECKS], findings


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_name_and_nothing_else_fails(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found_by = set(FAULTS[fault])
    asked = ROUTES if found_by <= ROUTES else {check.check_id for check in CHECKS} - (SLOW - found_by)
    monkeypatch.setattr(run, "CHECKS", [check for check in CHECKS if check.check_id in asked])
    monkeypatch.setattr(load, "LENGTHS_TOKENS", (8, 16))
    monkeypatch.setattr(streaming, "FREED_WITHIN_S", 0.5)
    with serving(BrokenServer(fault)) as base_url:
        findings = found(base_url, repeat=1)
    assert of(Outcome.FAILED, findings).keys() == found_by, findings
