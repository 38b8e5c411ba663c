"""What the guard at Modal decides, from what Lambda and the heartbeats say of an instance."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import PAGE, RESET, Reply, ScriptedServer, said

import away_guard
from away_guard import GRACE_S, SILENT_S, is_ours, judge

NOW = 1_800_000_000.0
HOUR_S = 3600.0
ANYTHING = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
BEATS = ANYTHING | st.fixed_dictionaries({"beat_at": ANYTHING, "active_at": ANYTHING})
ODD_BEATS = ["", [], {}, {"beat_at": "x", "active_at": 1}, {"beat_at": 1.0}, {"beat_at": 10**400}, "ServiceError"]


def instance(**tags: object) -> dict[str, Any]:
    """One at 3.60 USD an hour that was ordered an hour ago, with an hour to live and five minutes of idleness."""
    said = {
        "name": "a",
        "deadline_at": NOW + HOUR_S,
        "start_deadline_at": NOW - 1800,
        "ordered_at": int(NOW - HOUR_S),
        "idle_s": 300.0,
        **tags,
    }
    kept = {name: value for name, value in said.items() if value is not None}
    return {
        "id": "i",
        "name": "gpu-a-1",
        "status": "active",
        "instance_type": {"price_cents_per_hour": 360},
        "tags": [{"key": f"gpu-cli:{name.replace('_', '-')}", "value": str(value)} for name, value in kept.items()],
    }


def beat(beat_ago_s: float, active_ago_s: float | None) -> dict[str, float | None]:
    return {"beat_at": NOW - beat_ago_s, "active_at": None if active_ago_s is None else NOW - active_ago_s}


def test_a_deadline_ends_it_once_the_grace_of_the_guard_nearby_is_over() -> None:
    assert judge(instance(deadline_at=NOW - GRACE_S + 1), None, NOW) == ("", [])
    assert judge(instance(deadline_at=NOW - GRACE_S), None, NOW) == ("deadline", [])


def test_a_budget_ends_it_when_the_price_has_used_it_up() -> None:
    """3.60 USD an hour are 3.66 USD after an hour and a minute."""
    assert judge(instance(budget_usd="3.55"), None, NOW) == ("", [])
    assert judge(instance(budget_usd="3.53"), None, NOW) == ("budget", [])


@pytest.mark.parametrize(
    ("beat_ago_s", "active_ago_s", "reason"),
    [
        (SILENT_S, 300 + GRACE_S, "idle"),
        (SILENT_S, 300 + GRACE_S - 1, ""),  # not idle for long enough
        (SILENT_S - 1, HOUR_S, ""),  # the guard nearby is awake: it is its turn
        (-HOUR_S, HOUR_S, ""),  # a clock that is ahead
        (1800, None, "idle"),  # never ready, and its start is overdue
    ],
)
def test_idleness_ends_it_when_the_guard_that_leads_to_it_is_silent(
    beat_ago_s: float, active_ago_s: float | None, reason: str
) -> None:
    assert judge(instance(), beat(beat_ago_s, active_ago_s), NOW) == (reason, [])


def test_one_that_was_never_ready_has_until_its_start_deadline() -> None:
    assert judge(instance(start_deadline_at=NOW), beat(HOUR_S, None), NOW) == ("", [])


def test_without_a_heartbeat_idleness_ends_nothing() -> None:
    assert judge(instance(), None, NOW) == ("", [])


@pytest.mark.parametrize("text", [None, "", "soon", "nan", "inf", "-5", "0", "1e9", "1 800 000 000", "١٢٣"])
def test_a_limit_that_cannot_be_read_limits_nothing_and_is_told(text: str | None) -> None:
    assert judge(instance(deadline_at=text), None, NOW) == ("", ["its tag gpu-cli:deadline-at cannot be read"])
    assert judge(instance(idle_s=text), beat(HOUR_S, HOUR_S), NOW) == ("", ["its tag gpu-cli:idle-s cannot be read"])


def test_a_limit_that_can_be_read_holds_beside_one_that_cannot() -> None:
    assert judge(instance(deadline_at="soon"), beat(HOUR_S, HOUR_S), NOW) == ("idle", [])


@pytest.mark.parametrize("found", ODD_BEATS)
def test_a_heartbeat_that_cannot_be_read_is_told_and_the_deadline_holds(found: object) -> None:
    assert judge(instance(), found, NOW) == ("", ["its heartbeat cannot be read"])
    assert judge(instance(deadline_at=NOW - HOUR_S), found, NOW) == ("deadline", [])


@given(BEATS)
def test_whatever_is_in_the_dict_never_keeps_a_deadline_from_being_kept(found: object) -> None:
    assert judge(instance(deadline_at=NOW - HOUR_S), found, NOW)[0] == "deadline"
    judge(instance(), found, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "mine"},
        {"name": None},
        {"tags": None},
        {"tags": [{"key": "gpu-cli", "value": "x"}, {"key": "name", "value": "a"}]},
        {"status": "terminating"},
        {"status": "terminated"},
    ],
)
def test_what_is_not_ours_or_ends_already_is_not_looked_at(changes: dict[str, Any]) -> None:
    assert is_ours(instance())
    assert not is_ours({**instance(), **changes})


# Lambda


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Asks a server for the instances."""
    monkeypatch.setattr(away_guard, "PAUSES_S", (0, 0))
    monkeypatch.setattr(away_guard, "PACE_S", 0)
    monkeypatch.setenv("LAMBDA_API_KEY", "secret_key")

    def ask(server: ScriptedServer, what: Callable[[], Any] = lambda: away_guard.ask("GET", "/instances")) -> Any:
        monkeypatch.setenv("GPU_LAMBDA_API_URL", f"{server.url}/api/v1/")
        return what()

    return ask


def test_a_request_has_the_key_and_a_name_of_its_own(ask: Callable[..., Any]) -> None:
    with ScriptedServer(said({"data": [1]})) as server:
        assert ask(server) == [1]
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/api/v1/instances")
    assert asked.headers["authorization"] == "Bearer secret_key"
    assert asked.headers["user-agent"].startswith("gpu-away-guard")


@pytest.mark.parametrize("trouble", [said({}, 429), said({}, 502), PAGE, RESET, said({"no": "data"}), said([])])
def test_an_answer_that_is_none_is_asked_for_again(ask: Callable[..., Any], trouble: Reply) -> None:
    with ScriptedServer(trouble, trouble, said({"data": []})) as server:
        assert ask(server) == []
    with ScriptedServer(trouble, trouble, trouble) as server, pytest.raises(OSError, match="GET /instances: "):
        ask(server)


def test_a_redirect_is_not_followed_so_the_key_goes_to_nobody_else(ask: Callable[..., Any]) -> None:
    with ScriptedServer() as elsewhere:
        redirect = Reply(302, "", {"Location": f"{elsewhere.url}/instances"})
        with ScriptedServer(redirect) as server, pytest.raises(OSError, match="Lambda answers 302"):
            ask(server)
    assert elsewhere.asked == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refusal_is_told_by_its_status_alone(ask: Callable[..., Any], status: int) -> None:
    refusal = said({"error": {"message": "jupyter_token"}}, status)
    with ScriptedServer(refusal) as server, pytest.raises(OSError, match=str(status)) as raised:
        ask(server)
    assert "jupyter" not in str(raised.value)
    assert isinstance(raised.value, PermissionError) == (status == 401)


def test_an_end_that_is_not_confirmed_is_none(ask: Callable[..., Any]) -> None:
    another = said({"data": {"terminated_instances": [{"id": "another"}]}})
    with ScriptedServer(another) as server, pytest.raises(OSError, match="does not say"):
        ask(server, lambda: away_guard.terminate("i"))
    assert server.asked[0].body == {"instance_ids": ["i"]}


def test_one_that_cannot_be_ended_does_not_save_the_others_and_the_turn_fails(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    monkeypatch.setattr(away_guard, "heartbeat", lambda _: None)
    monkeypatch.setattr(away_guard, "tell_that_it_works", lambda: turns.append(1.0))
    both = [instance(deadline_at=1.0) | {"name": f"gpu-{id_}", "id": id_} for id_ in ("stuck", "late")]
    ended = said({"data": {"terminated_instances": [{"id": "late"}]}})
    answers = (said({"data": both}), said({}, 409), ended)
    with ScriptedServer(*answers) as server, pytest.raises(RuntimeError) as raised:
        ask(server, away_guard.enforce)
    assert str(raised.value) == "gpu-stuck: POST /instance-operations/terminate: Lambda answers 409"
    assert [asked.body["instance_ids"] for asked in server.asked[1:]] == [["stuck"], ["late"]]
    assert turns == [1.0]


def test_it_is_named_as_the_product_deploys_it() -> None:
    from gpu_cli.fleet.away.deploy import NAME, TURNED_AT

    assert (away_guard.NAME, away_guard.TURNED_AT) == (NAME, TURNED_AT)
