"""The firewall of a public machine at Lambda: what it lets in, before and after it knows its user."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lambda_account import client_at
from scripted_server import RESET, ScriptedServer, said

from gpu_providers.errors import InvalidRequest, ProviderUnavailable
from gpu_providers.lambda_cloud.firewall import close, left_over, make_ruleset, open_to, sweep

ID = "c4d291f47f9d436fa39f58493ce3b50d"
MADE = said({"data": {"id": ID, "name": "gpu-a"}})
REFUSED = said({"error": {"code": "global/invalid-parameters", "message": "no", "suggestion": ""}}, 400)


def opened(body: dict[str, list[dict[str, object]]]) -> set[tuple[object, ...]]:
    return {(rule["protocol"], *rule.get("port_range", ()), rule["source_network"]) for rule in body["rules"]}


def test_a_new_machine_is_as_closed_as_any_other(tmp_path: Path) -> None:
    with ScriptedServer(MADE) as server:
        assert make_ruleset(client_at(server.url, tmp_path), "gpu-a", "us-east-1") == ID
    (asked,) = server.asked
    assert (asked.body["name"], asked.body["region"]) == ("gpu-a", "us-east-1")
    assert opened(asked.body) == {("tcp", 22, 22, "0.0.0.0/0"), ("icmp", "0.0.0.0/0")}


def test_one_address_is_let_in_to_the_engine_and_nobody_else(tmp_path: Path) -> None:
    with ScriptedServer(MADE) as server:
        open_to(client_at(server.url, tmp_path), ID, 8000, "203.0.113.9")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("PATCH", f"/firewall-rulesets/{ID}")
    assert opened(asked.body) == {
        ("tcp", 22, 22, "0.0.0.0/0"),
        ("icmp", "0.0.0.0/0"),
        ("tcp", 8000, 8000, "203.0.113.9/32"),
    }


def test_a_ruleset_whose_answer_got_lost_is_found_by_its_name(tmp_path: Path) -> None:
    listed = said({"data": [{"id": "another", "name": "gpu-b"}, {"id": ID, "name": "gpu-a"}]})
    with ScriptedServer(RESET, listed) as server:
        assert make_ruleset(client_at(server.url, tmp_path), "gpu-a", "us-east-1") == ID


@pytest.mark.parametrize(
    ("replies", "error"),
    [((RESET, said({"data": []})), ProviderUnavailable), ((REFUSED,), InvalidRequest)],
    ids=["lost", "refused"],
)
def test_without_a_ruleset_there_is_no_instance_that_may_exist(
    replies: tuple[object, ...], error: type[Exception], tmp_path: Path
) -> None:
    with ScriptedServer(*replies) as server, pytest.raises(error) as raised:
        make_ruleset(client_at(server.url, tmp_path), "gpu-a", "us-east-1")
    assert type(raised.value) is error


def ruleset(id_: str, **changes: Any) -> dict[str, Any]:
    """One that a machine of ours has left, changed."""
    left = {
        "id": id_,
        "name": "gpu-a",
        "rules": [{"protocol": "icmp", "source_network": "0.0.0.0/0", "description": "gpu-cli: ping"}],
        "created": "2026-08-31T10:00:00+00:00",
        "instance_ids": [],
    }
    return {**left, **changes}


def test_only_what_gone_machines_of_ours_have_left_is_swept_up(tmp_path: Path) -> None:
    rule = {"protocol": "icmp", "source_network": "0.0.0.0/0", "description": "ping"}
    just_now = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    found = [
        ruleset("left"),
        ruleset("used", instance_ids=["0920582c"]),
        ruleset("unknown-use", instance_ids=None),
        ruleset("just-made", created=just_now),
        ruleset("of-unknown-age", created=None),
        ruleset("by-hand", rules=[rule]),
        ruleset("empty", rules=[]),
        ruleset("another-name", name="web"),
        ruleset("left-too"),
    ]
    deleted = said({"data": {}})
    with ScriptedServer(said({"data": found}), said({"data": found}), deleted, deleted) as server:
        assert left_over(client_at(server.url, tmp_path)) == {"gpu-a"}
        server.asked.clear()
        sweep(client_at(server.url, tmp_path))
    assert [f"{one.method} {one.path}" for one in server.asked] == [
        "GET /firewall-rulesets",
        "DELETE /firewall-rulesets/left",
        "DELETE /firewall-rulesets/left-too",
    ]


def test_what_a_machine_has_left_that_was_launched_elsewhere_goes_with_it_and_nothing_else(tmp_path: Path) -> None:
    just_now = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    found = [ruleset("its", created=just_now), ruleset("used", instance_ids=["0920582c"]), ruleset("b", name="gpu-b")]
    with ScriptedServer(said({"data": found}), said({"data": {}})) as server:
        close(client_at(server.url, tmp_path), "gpu-a")
        close(client_at(server.url, tmp_path), "web")
    assert [f"{one.method} {one.path}" for one in server.asked] == [
        "GET /firewall-rulesets",
        "DELETE /firewall-rulesets/its",
    ]


def test_sweeping_never_fails(tmp_path: Path) -> None:
    with ScriptedServer(REFUSED) as server:
        sweep(client_at(server.url, tmp_path))
    assert len(server.asked) == 1
