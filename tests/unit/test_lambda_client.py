"""Lambda Cloud's API on the wire: what is sent, how often, and what is made of each kind of answer."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import PAGE, RESET, Reply, ScriptedServer, said

from gpu_providers.base import Secret
from gpu_providers.errors import (
    AuthError,
    CreateUnknown,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from gpu_providers.http import Http
from gpu_providers.lambda_cloud import client as lambda_client
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.pacing import INTERVALS_S, Pace, Turn
from gpu_providers.lambda_cloud.refusals import BAN_S, PATIENCE_S, Blocked

KEY = Secret("secret_gpu_0123456789abcdef")
ID = "0920582c7ff041399e34823a0be62549"
HOST_KEY = "QyNTUxOQAAACDqhZ0short"
BODY = {
    "region_name": "us-east-1",
    "instance_type_name": "gpu_1x_h100_sxm5",
    "ssh_key_names": ["gpu-cli-0123456789abcdef"],
    "name": "gpu-llama-1a2b3c4d",
    "user_data": f"#cloud-config\nssh_keys:\n  ed25519_private: |\n    {HOST_KEY}\n",
}
JUPYTER = "f00dfeedf00dfeed"
INSTANCE = {"id": ID, "name": "gpu-a", "status": "active", "jupyter_token": JUPYTER}
RULE = {"protocol": "icmp", "source_network": "0.0.0.0/0", "description": "ping"}
SSH_KEY = {"id": "1", "name": "gpu-cli-1", "public_key": "ssh-ed25519 AAAA gpu"}


class Passing:
    """Time that passes only while one sleeps, and what was slept."""

    def __init__(self) -> None:
        self.now_s = 1_795_000_000.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


Connect = Callable[..., LambdaClient]
AT_ONCE = Http(sleep=lambda _: None)
"""Shared: to make one takes longer than most tests."""


@pytest.fixture
def client(tmp_path: Path) -> Connect:
    """Asks at once, the first time; all later turns pass on a clock of their own."""

    def connect(cloud: ScriptedServer | str, http: Http = AT_ONCE) -> LambdaClient:
        turns = Passing()
        url = cloud if isinstance(cloud, str) else f"{cloud.url}/api/v1/"
        return LambdaClient(KEY, url, http, Pace(tmp_path, turns.clock, turns.sleep))

    return connect


def data(found: Any) -> Reply:
    return said({"data": found})


def no(code: str, status: int = 400, message: str = "") -> Reply:
    """A refusal as Lambda writes it."""
    return said({"error": {"code": code, "message": message, "suggestion": ""}}, status)


NO_CAPACITY = no("instance-operations/launch/insufficient-capacity")
GONE = no("global/object-does-not-exist", 404, "Specified instance does not exist.")
LAUNCHED = data({"instance_ids": [ID]})
TERMINATED = data({"terminated_instances": [{**INSTANCE, "status": "terminating"}]})

CALLS: dict[str, tuple[Callable[[LambdaClient], Any], Reply, tuple[str, str, Any]]] = {
    "instance_types": (lambda c: c.instance_types(), data({}), ("GET", "instance-types", None)),
    "instances": (lambda c: c.instances(), data([]), ("GET", "instances", None)),
    "instance": (lambda c: c.instance(ID), data(INSTANCE), ("GET", f"instances/{ID}", None)),
    "launch": (lambda c: c.launch(BODY), LAUNCHED, ("POST", "instance-operations/launch", BODY)),
    "terminate": (
        lambda c: c.terminate(ID),
        TERMINATED,
        ("POST", "instance-operations/terminate", {"instance_ids": [ID]}),
    ),
    "ssh_keys": (lambda c: c.ssh_keys(), data([]), ("GET", "ssh-keys", None)),
    "add_ssh_key": (
        lambda c: c.add_ssh_key("gpu-cli-1", "ssh-ed25519 AAAA gpu"),
        data(SSH_KEY),
        ("POST", "ssh-keys", {"name": "gpu-cli-1", "public_key": "ssh-ed25519 AAAA gpu"}),
    ),
    "filesystems": (lambda c: c.filesystems(), data([]), ("GET", "file-systems", None)),
    "create_filesystem": (
        lambda c: c.create_filesystem("weights", "us-east-1"),
        data({"id": ID, "name": "weights"}),
        ("POST", "filesystems", {"name": "weights", "region": "us-east-1"}),
    ),
    "delete_filesystem": (
        lambda c: c.delete_filesystem(ID),
        data({"deleted_ids": [ID]}),
        ("DELETE", f"filesystems/{ID}", None),
    ),
    "firewall_rulesets": (lambda c: c.firewall_rulesets(), data([]), ("GET", "firewall-rulesets", None)),
    "create_firewall_ruleset": (
        lambda c: c.create_firewall_ruleset("gpu-a", "us-east-1", [RULE]),
        data({"id": ID, "name": "gpu-a", "rules": [RULE]}),
        ("POST", "firewall-rulesets", {"name": "gpu-a", "region": "us-east-1", "rules": [RULE]}),
    ),
    "set_firewall_rules": (
        lambda c: c.set_firewall_rules(ID, [RULE]),
        data({"id": ID, "name": "gpu-a", "rules": [RULE]}),
        ("PATCH", f"firewall-rulesets/{ID}", {"rules": [RULE]}),
    ),
    "delete_firewall_ruleset": (
        lambda c: c.delete_firewall_ruleset(ID),
        data({}),
        ("DELETE", f"firewall-rulesets/{ID}", None),
    ),
    "images": (lambda c: c.images(), data([]), ("GET", "images", None)),
}
LISTS = ["instances", "ssh_keys", "filesystems", "firewall_rulesets", "images"]
CREATES = ["launch", "add_ssh_key", "create_filesystem", "create_firewall_ruleset"]
SAFE = [name for name in CALLS if name not in CREATES]


@pytest.mark.parametrize(("call", "reply", "expected"), CALLS.values(), ids=CALLS)
def test_every_route_is_asked_as_documented(
    call: Callable[[LambdaClient], Any], reply: Reply, expected: tuple[str, str, Any], client: Connect
) -> None:
    method, path, body = expected
    with ScriptedServer(reply) as cloud:
        call(client(cloud))
    asked = cloud.asked[0]
    assert (asked.method, asked.path, asked.query, asked.body) == (method, f"/api/v1/{path}", {}, body)
    assert asked.headers["authorization"] == f"Bearer {KEY.reveal()}"
    assert asked.headers["user-agent"].startswith("gpu-cli/")


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_key_is_told_on_every_route(name: str, client: Connect) -> None:
    with ScriptedServer(no("global/invalid-api-key", 401)) as cloud, pytest.raises(AuthError):
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", CALLS)
def test_a_block_by_cloudflare_is_nothing_about_the_key_and_has_made_nothing(name: str, client: Connect) -> None:
    with ScriptedServer(Reply(403, "<html>error code: 1010</html>")) as cloud, pytest.raises(Blocked):
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", SAFE)
def test_what_may_be_asked_twice_is_asked_again_after_a_web_page(name: str, client: Connect) -> None:
    with ScriptedServer(PAGE, Reply(502, "<html>"), CALLS[name][1]) as cloud:
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", SAFE)
@pytest.mark.parametrize("answer", ["x", [], None, {}, {"data": None}, {"data": "x"}, {"error": {}}])
def test_an_answer_without_what_was_asked_for_is_no_answer(name: str, answer: object, client: Connect) -> None:
    with ScriptedServer(said(answer)) as cloud, pytest.raises(ProviderUnavailable):
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", CALLS)
def test_a_redirect_is_not_followed_so_the_key_stays_here(name: str, client: Connect) -> None:
    with (
        ScriptedServer() as elsewhere,
        ScriptedServer(Reply(308, headers={"Location": elsewhere.url})) as cloud,
        pytest.raises((ProviderUnavailable, CreateUnknown)),
    ):
        CALLS[name][0](client(cloud))
    assert elsewhere.asked == []


@pytest.mark.parametrize("wrong", ["", "../ssh-keys", "7/../8", "7?x=", " 7", "٧", "1" * 65])
def test_what_is_no_id_reaches_no_route(wrong: str, client: Connect) -> None:
    with ScriptedServer() as cloud:
        asked = client(cloud)
        for call in (asked.instance, asked.terminate, asked.delete_filesystem, asked.delete_firewall_ruleset):
            with pytest.raises(InvalidRequest, match="no id"):
                call(wrong)
    assert cloud.asked == []


# Its pace


def test_every_try_takes_its_turn(tmp_path: Path) -> None:
    turns = Passing()
    with ScriptedServer(RESET, Reply(500), data([]), data([])) as cloud:
        paced = LambdaClient(KEY, cloud.url, AT_ONCE, Pace(tmp_path, turns.clock, turns.sleep))
        paced.instances()
        paced.instances()
    assert sum(turns.slept_s) == pytest.approx(3 * INTERVALS_S[Turn.REQUEST], abs=0.01)


def test_the_next_launch_waits_for_longer_than_any_other_request(tmp_path: Path) -> None:
    turns = Passing()
    with ScriptedServer(NO_CAPACITY, LAUNCHED) as cloud:
        paced = LambdaClient(KEY, cloud.url, AT_ONCE, Pace(tmp_path, turns.clock, turns.sleep))
        with pytest.raises(NoCapacity):
            paced.launch(BODY)
        paced.launch(BODY)
    assert sum(turns.slept_s) == pytest.approx(INTERVALS_S[Turn.LAUNCH], abs=0.01)


# Patience


def test_a_429_is_waited_out(client: Connect) -> None:
    patience = Passing()
    with ScriptedServer(Reply(429), said({}, 429, **{"Retry-After": "3"}), data([])) as cloud:
        assert client(cloud, Http(sleep=patience.sleep)).instances() == []
    assert patience.slept_s == [PATIENCE_S, 3.0]


def test_a_ban_is_left_to_the_caller(client: Connect) -> None:
    with (
        ScriptedServer(Reply(429, "<html>The owner has banned you temporarily</html>")) as cloud,
        pytest.raises(RateLimited) as caught,
    ):
        client(cloud).instances()
    assert caught.value.retry_after_s == BAN_S


@pytest.mark.parametrize("name", CREATES)
def test_a_create_that_came_too_soon_has_made_nothing_and_is_not_sent_again(name: str, client: Connect) -> None:
    with ScriptedServer(Reply(429)) as cloud, pytest.raises(RateLimited):
        CALLS[name][0](client(cloud))


def test_a_launch_may_take_two_minutes(client: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lambda_client.LAUNCH_S == 120
    monkeypatch.setattr(lambda_client, "LAUNCH_S", 0.2)
    with ScriptedServer(Reply(200, delay_s=0.5)) as cloud, pytest.raises(CreateUnknown, match="no answer in time"):
        client(cloud).launch(BODY)


# Reading


def test_instance_types_come_by_their_names(client: Connect) -> None:
    found = {"gpu_1x_a10": {"instance_type": {}, "regions_with_capacity_available": []}, "odd": None}
    with ScriptedServer(data(found)) as cloud:
        assert client(cloud).instance_types() == {"gpu_1x_a10": found["gpu_1x_a10"]}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_with_something_that_is_no_object_is_not_taken_for_a_whole_one(name: str, client: Connect) -> None:
    with ScriptedServer(data([{"id": "1"}, {"id": "2"}]), data([{"id": "1"}, "x"])) as cloud:
        assert CALLS[name][0](client(cloud)) == [{"id": "1"}, {"id": "2"}]
        with pytest.raises(ProviderUnavailable, match="no list of"):
            CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", [*LISTS, "instance_types"])
@pytest.mark.parametrize("reply", [GONE, no("global/not-found", 404), Reply(404)], ids=["gone", "no route", "empty"])
def test_a_list_that_is_not_there_is_not_empty(name: str, reply: Reply, client: Connect) -> None:
    with ScriptedServer(reply) as cloud, pytest.raises(ProviderUnavailable):
        CALLS[name][0](client(cloud))


def test_an_instance_that_the_api_does_not_know_is_gone(client: Connect) -> None:
    with ScriptedServer(GONE) as cloud, pytest.raises(NotFound):
        client(cloud).instance(ID)


@pytest.mark.parametrize(
    "reply",
    [no("global/not-found", 404), Reply(404), Reply(404, "<html>"), data({"id": "another"}), data([])],
    ids=["no route", "empty 404", "404 page", "another", "list"],
)
def test_what_anybody_may_answer_is_no_word_that_an_instance_is_gone(reply: Reply, client: Connect) -> None:
    with ScriptedServer(reply) as cloud, pytest.raises(ProviderUnavailable):
        client(cloud).instance(ID)


# Launching


def test_a_launch_answers_the_id_of_the_instance(client: Connect) -> None:
    with ScriptedServer(LAUNCHED) as cloud:
        assert client(cloud).launch(BODY) == ID


@pytest.mark.parametrize("name", CREATES)
@pytest.mark.parametrize(
    "outcome",
    [
        RESET,
        no("global/internal-error", 500),
        no("global/unknown", 400),
        no("provider/internal-unavailable", 400),
        no("global/conflict", 409),
        Reply(502, "<html>", {"Content-Type": "text/html"}),
        Reply(524, "<html>", {"Content-Type": "text/html"}),
        Reply(408, "<html>", {"Content-Type": "text/html"}),
        PAGE,
        Reply(200, '{"data": {"instance_ids": ["092', {"Content-Type": "application/json"}),
        Reply(200, '{"data": {"instance_ids": ["0920582c"]}}', {"Content-Type": "application/json"}, cut=9),
        Reply(200, ""),
        said({}),
        said([ID]),
        data(None),
        data([ID]),
    ],
    ids=["reset", "500", "unknown", "upstream", "conflict", "502", "524", "408", "page", "truncated", "broken off",
         "empty", "without data", "list", "null", "list of data"],
)  # fmt: skip
def test_a_create_may_have_worked_after(outcome: Reply, name: str, client: Connect) -> None:
    with ScriptedServer(outcome) as cloud, pytest.raises(CreateUnknown) as caught:
        CALLS[name][0](client(cloud))
    assert len(cloud.asked) == 1, "a create must never be sent twice"
    assert "look for its name" in caught.value.hint


@pytest.mark.parametrize("ids", [[], [ID, ID], [""], [7], [None], None, ID, {"0": ID}])
def test_a_launch_that_does_not_name_one_instance_may_have_made_some(ids: object, client: Connect) -> None:
    with ScriptedServer(data({"instance_ids": ids})) as cloud, pytest.raises(CreateUnknown):
        client(cloud).launch(BODY)


REFUSED = {
    "no capacity": (NO_CAPACITY, NoCapacity),
    "quota": (no("global/quota-exceeded"), QuotaExceeded),
    "account": (no("global/account-inactive", 403), InsufficientFunds),
    "wrong body": (no("global/invalid-parameters"), InvalidRequest),
    "no such type, 400": (no("global/object-does-not-exist"), InvalidRequest),
    "no such type, 404": (no("global/object-does-not-exist", 404), InvalidRequest),
    "file system elsewhere": (no("instance-operations/launch/file-system-in-wrong-region"), InvalidRequest),
    "name taken": (no("global/duplicate"), InvalidRequest),
    "wrong key": (no("global/invalid-api-key", 401), AuthError),
}


@pytest.mark.parametrize(("outcome", "error"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("name", CREATES)
def test_a_create_that_was_refused_has_made_nothing(
    outcome: Reply, error: type[ProviderError], name: str, client: Connect
) -> None:
    with ScriptedServer(outcome) as cloud, pytest.raises(ProviderError) as caught:
        CALLS[name][0](client(cloud))
    assert type(caught.value) is error
    assert len(cloud.asked) == 1, "a create must never be sent twice"


def test_a_launch_that_found_nobody_has_made_nothing(client: Connect) -> None:
    with pytest.raises(ProviderUnavailable, match="no connection"):
        client("http://127.0.0.1:9").launch(BODY)


# Ending


@pytest.mark.parametrize("reply", [TERMINATED, GONE], ids=["ends", "gone"])
def test_terminating_what_is_gone_is_success(reply: Reply, client: Connect) -> None:
    with ScriptedServer(reply) as cloud:
        client(cloud).terminate(ID)


def test_a_terminate_without_an_answer_is_sent_again(client: Connect) -> None:
    with ScriptedServer(RESET, Reply(500), GONE) as cloud:
        client(cloud).terminate(ID)


@pytest.mark.parametrize(
    "reply",
    [
        no("global/invalid-parameters"),
        no("instance-operations/terminate/not-now"),
        no("global/conflict", 409),
        no("global/not-found", 404),
        Reply(404),
        data({"terminated_instances": []}),
        data({"terminated_instances": [{"id": "another"}]}),
        data({}),
    ],
    ids=["refused", "new code", "conflict", "no route", "empty 404", "not ended", "another", "without list"],
)
def test_what_is_not_ended_is_to_be_ended_again(reply: Reply, client: Connect) -> None:
    with ScriptedServer(reply) as cloud, pytest.raises(ProviderUnavailable):
        client(cloud).terminate(ID)


def test_deleting_a_file_system_that_is_gone_is_success(client: Connect) -> None:
    with ScriptedServer(no("global/object-does-not-exist", 404)) as cloud:
        client(cloud).delete_filesystem(ID)


@pytest.mark.parametrize(
    "reply", [no("filesystems/filesystem-in-use"), data({"deleted_ids": []}), data({})], ids=["used", "none", "nothing"]
)
def test_a_file_system_that_stays_is_not_deleted(reply: Reply, client: Connect) -> None:
    with ScriptedServer(reply) as cloud, pytest.raises(ProviderUnavailable):
        client(cloud).delete_filesystem(ID)


def test_a_firewall_ruleset_that_is_gone_is_deleted_and_one_in_use_is_not(client: Connect) -> None:
    with ScriptedServer(no("global/object-does-not-exist", 404)) as cloud:
        client(cloud).delete_firewall_ruleset(ID)
    with (
        ScriptedServer(no("firewall-rulesets/firewall-ruleset-in-use")) as cloud,
        pytest.raises(ProviderUnavailable, match="firewall-ruleset-in-use"),
    ):
        client(cloud).delete_firewall_ruleset(ID)


# Secrets


def test_no_error_of_a_launch_holds_the_key_or_what_the_machine_is_told(client: Connect) -> None:
    echo = f"user_data {BODY['user_data']} of {KEY.reveal()}"
    for outcome in (no("global/invalid-parameters", 400, echo), no("global/internal-error", 500, echo)):
        with ScriptedServer(outcome) as cloud, pytest.raises(ProviderError) as caught:
            client(cloud).launch(BODY)
        told = f"{caught.value!r} {caught.value.hint}"
        assert not [secret for secret in (KEY.reveal(), HOST_KEY) if secret in told]


@pytest.mark.parametrize(
    "replies",
    [
        [data([INSTANCE])],
        [data({**INSTANCE, "id": "another"})],
        [said(INSTANCE)],
        [said(INSTANCE, 404)],
        [Reply(200, f'{{"data": {{"jupyter_token": "{JUPYTER}"')] * 3,
    ],
    ids=["list", "another", "bare", "404", "truncated"],
)
def test_no_error_holds_the_key_to_jupyter(replies: list[Reply], client: Connect) -> None:
    with ScriptedServer(*replies) as cloud, pytest.raises(ProviderError) as caught:
        client(cloud).instance(ID)
    assert JUPYTER not in f"{caught.value!r} {caught.value.hint} {caught.value.__context__!r}"


def test_the_client_loads_without_the_http_library() -> None:
    program = "import sys, gpu_providers.lambda_cloud.client; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
