"""Vast.ai's emulator behaves as Vast.ai has been seen or documented to, from the first status of an instance to its
end; each test names one such fact.
"""

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from emulated_runpod import until
from emulated_vast import Caller, new_instance
from emulators.container_log import CONTAINER
from emulators.containers import Container
from emulators.vast import VastEmulator
from emulators.vast.box import container_spec, env_on

from gpu_providers.vast.packing import SCRIPT, pack
from gpu_providers.vast.unpack import unpack

SERVES = """
import http.server, json, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"env": dict(os.environ), "argv": sys.argv[1:]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Answer).serve_forever()
"""


@pytest.fixture
def call() -> Iterator[Caller]:
    with VastEmulator(boot_s=0) as cloud:
        yield Caller(cloud)


@pytest.fixture(scope="module")
def serving() -> Iterator[tuple[Caller, int]]:
    """An instance in which something listens."""
    with VastEmulator(boot_s=0, engine="stub") as cloud:
        call = Caller(cloud)
        yield call, call.rented(**boxed("python3", "-c", SERVES, "--port", "8000", SECRET="a b 'c'"))


def boxed(*argv: str, **env: str) -> dict[str, Any]:
    """The part of a body that runs this."""
    return {"args": ["-c", SCRIPT], "env": {"-p 8000:8000": "1", "PLAIN": "1", **pack(env, argv)}}


def running(call: Caller, id_: int) -> Any:
    until(lambda: call.instance(id_)["actual_status"] == "running")
    return call.instance(id_)


def url_of(call: Caller, id_: int) -> str:
    instance = running(call, id_)
    return f"http://{instance['public_ipaddr'].strip()}:{instance['ports']['8000/tcp'][0]['HostPort']}"


def get(url: str) -> Any:
    """The JSON there, as soon as something listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return httpx.get(url, verify=False).json()
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def container_of(call: Caller, id_: int) -> Container:
    with call.cloud.lock:
        container = call.cloud.instances.named(id_).container
        assert container
        return container


def usd_per_hour(call: Caller) -> float:
    """What the account is billed now."""
    call.cloud.bill()
    with call.cloud.lock:
        return call.cloud.billing.usd_per_hour()


# Keys


def test_without_a_key_it_is_401_and_with_a_wrong_one_404(call: Caller) -> None:
    for path in ("/v0/users/current", "/v1/instances/", "/v0/instances/1/"):
        none, wrong = Caller(call.cloud, None)("GET", path), Caller(call.cloud, "wrong")("GET", path)
        assert (none.status_code, none.json()["error"]) == (401, "auth_error")
        assert (wrong.status_code, wrong.json()["error"]) == (404, "auth_error")


@pytest.mark.parametrize("path", ["/v0/users/current", "/v0/users/current/"])
def test_the_user_has_a_credit_that_is_used_up(call: Caller, path: str) -> None:
    before = call("GET", path).json()["credit"]
    running(call, call.rented())
    call.cloud.clock.advance(3600)
    assert before == 100.0
    assert call("GET", path).json()["credit"] == pytest.approx(100.0 - call.cloud.bill()["usd"], abs=1e-4)


def test_the_key_of_an_instance_shows_and_ends_its_own_and_nothing_else(call: Caller) -> None:
    created = call.rent().json()
    own, other = created["new_contract"], call.rented()
    inside = Caller(call.cloud, created["instance_api_key"])
    assert inside.instance(own)["id"] == own
    for method, path in (
        ("GET", f"/v0/instances/{other}/"),
        ("DELETE", f"/v0/instances/{other}/"),
        ("GET", "/v1/instances/"),
        ("GET", "/v0/users/current"),
        ("PUT", f"/v0/asks/{call.offer()['id']}/"),
    ):
        assert inside(method, path).status_code == 403
    assert inside.destroy(own).json() == {"success": True}
    assert call.listed() == [other]
    assert inside.instance(own) is None


def test_the_key_of_an_instance_may_die_with_it(call: Caller) -> None:
    call.cloud.misbehave({"do": "container-key-dies"})
    created = call.rent().json()
    id_, inside = created["new_contract"], Caller(call.cloud, created["instance_api_key"])
    assert inside.instance(id_)["id"] == id_
    assert inside.destroy(id_).json() == {"success": True}
    for method in ("GET", "DELETE"):
        dead = inside(method, f"/v0/instances/{id_}/")
        assert (dead.status_code, dead.json()["error"]) == (404, "auth_error")
    assert call.instance(id_) is None


# Boot


def test_the_status_walks_from_null_to_running_and_only_then_are_there_ports() -> None:
    with VastEmulator(boot_s=100) as cloud:
        call = Caller(cloud)
        id_ = call.rented()
        seen = []
        for seconds in (0, 30, 30):
            cloud.clock.advance(seconds)
            seen.append(call.instance(id_))
        assert [one["actual_status"] for one in seen] == [None, "created", "loading"]
        assert [one["ports"] for one in seen] == [None, {}, {}]
        assert {one["intended_status"] for one in seen} == {"running"}
        assert seen[0]["direct_port_start"] == -1
        cloud.clock.advance(100)
        assert running(call, id_)["status_msg"] == "success, running vllm/vllm-openai:v0.32.0\n"


def test_the_address_has_white_space_and_a_port_is_text_for_both_families(call: Caller) -> None:
    instance = running(call, call.rented(env={"-p 8000:8000": "1", "-p 9000:9000/udp": "1"}))
    assert instance["public_ipaddr"].strip() == "127.0.0.1" != instance["public_ipaddr"]
    v4, v6 = instance["ports"].pop("8000/tcp")
    assert (v4["HostIp"], v6["HostIp"], v4["HostPort"]) == ("0.0.0.0", "::", v6["HostPort"])
    assert v4["HostPort"].isdecimal()


def test_a_host_without_direct_ports_shows_none(call: Caller) -> None:
    offer = call.search(machine_id={"eq": 12308})[0]
    assert offer["direct_port_count"] == 0
    assert running(call, call.rented(offer["id"]))["ports"] == {}


def test_what_was_asked_for_is_shown_in_clear(call: Caller) -> None:
    body = new_instance(env={"-p 8000:8000": "1", "SECRET": "abc"})
    instance = call.instance(call.rented(env=body["env"]))
    assert instance["extra_env"] == [["-p 8000:8000", "1"], ["SECRET", "abc"]]
    assert (instance["label"], instance["image_uuid"], instance["image_runtype"]) == ("gpu-a", body["image"], "args")
    assert instance["image_args"] == body["args"]


def test_docker_may_fail_and_the_status_says_so(call: Caller) -> None:
    text = "Error response from daemon: manifest for vllm/vllm-openai:v9 not found"
    call.cloud.misbehave({"do": "system-line", "text": text})
    id_ = call.rented()
    until(lambda: call.instance(id_)["status_msg"] == f"{text}\n")
    assert call.instance(id_)["actual_status"] == "loading"


def test_a_host_may_never_get_there(call: Caller) -> None:
    call.cloud.misbehave({"do": "never-boots"})
    id_ = call.rented()
    call.cloud.clock.advance(7200)
    assert call.instance(id_)["actual_status"] == "loading"


def test_a_command_that_ends_is_not_started_again(call: Caller) -> None:
    call.cloud.misbehave({"do": "crash-loop"})
    id_ = call.rented()
    until(lambda: call.instance(id_)["actual_status"] == "exited")
    assert call.instance(id_)["intended_status"] == "running"
    assert container_of(call, id_).restarts == 0


@pytest.mark.parametrize("status", ["exited", "unknown", "offline", "frozen"])
def test_a_host_may_fall_into_another_state(call: Caller, status: str) -> None:
    call.cloud.misbehave({"do": "host-state", "text": status, "seconds": 60})
    id_ = call.rented()
    running(call, id_)
    call.cloud.clock.advance(61)
    assert (call.instance(id_)["actual_status"], call.instance(id_)["ports"]) == (status, {})
    instance = call.instance(id_)
    disk_usd = instance["storage_total_cost"]
    billed = {"offline": 0.0, "frozen": instance["dph_total"]}.get(status, disk_usd)
    assert usd_per_hour(call) == pytest.approx(billed)


def test_a_host_may_mean_to_stop_what_still_loads() -> None:
    with VastEmulator(boot_s=100) as cloud:
        cloud.misbehave({"do": "host-stops", "seconds": 50})
        call = Caller(cloud)
        id_ = call.rented()
        cloud.clock.advance(60)
        instance = call.instance(id_)
        assert (instance["intended_status"], instance["actual_status"]) == ("stopped", "loading")
        assert instance["cur_state"] == "running"


# Lists


def test_the_list_of_the_old_api_is_dead(call: Caller) -> None:
    dead = call("GET", "/v0/instances/")
    assert (dead.status_code, dead.json()["error"]) == (410, "deprecated_endpoint")


def test_the_list_comes_in_pages_of_25_at_most(call: Caller) -> None:
    ids = [call.rented(target_state="stopped", label=f"gpu-{number % 2}") for number in range(27)]
    first = call.page(limit=25)
    assert (first["instances_found"], first["total_instances"]) == (25, 27)
    assert first["label_counts"] == {"gpu-0": 14, "gpu-1": 13}
    rest = call.page(after_token=first["next_token"])
    assert rest["next_token"] is None
    assert [one["id"] for page in (first, rest) for one in page["instances"]] == ids
    assert len(call.listed(limit=0)) == 5
    assert call.listed(order_by=[{"col": "id", "dir": "desc"}], limit=1) == ids[-1:]


def test_the_list_is_filtered_by_columns_of_the_contract(call: Caller) -> None:
    one, other = call.rented(label="gpu-b"), call.rented(label="gpu-c", target_state="stopped")
    assert call.listed(select_filters={"label": {"eq": "gpu-b"}}) == [one]
    assert call.listed(select_filters={"id": {"in": [other]}}) == [other]
    assert call.listed(select_filters={"intended_status": {"neq": "running"}}) == [other]
    page = call.page(select_cols=["id", "label", "nonsense"], limit=1)
    assert page["instances"] == [{"id": one, "label": "gpu-b", "nonsense": None}]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"select_filters": {"dph_total": {"lt": 1}}}, "invalid_request"),
        ({"select_filters": {"num_gpus": {"eq": 1}}}, "invalid_request"),
        ({"select_filters": {"label": "gpu-a"}}, "invalid_request"),
        ({"select_filters": "label"}, "invalid_request"),
        ({"order_by": [{"col": "price", "dir": "asc"}]}, "invalid_request"),
        ({"limit": "many"}, "invalid_request"),
        ({"after_token": "nonsense"}, "invalid_token"),
    ],
)
def test_a_list_that_means_nothing_is_refused(call: Caller, query: dict[str, Any], error: str) -> None:
    call.rented()
    assert call.page(**query)["error"] == error


def test_a_list_may_lag_behind(call: Caller) -> None:
    old = call.rented()
    call.cloud.clock.advance(100)
    call.destroy(old)
    call.rented()
    call.cloud.misbehave({"do": "list-lag", "seconds": 50})
    assert call.listed() == [old]


@pytest.mark.parametrize(("text", "got", "listed"), [("", False, False), ("get", False, True), ("list", True, False)])
def test_a_fresh_contract_may_not_be_seen_yet(call: Caller, text: str, got: bool, listed: bool) -> None:
    call.cloud.misbehave({"do": "unseen", "seconds": 60, "text": text})
    id_ = call.rented()
    assert (call.instance(id_) is not None, call.listed() == [id_]) == (got, listed)
    call.cloud.clock.advance(61)
    assert (call.instance(id_)["id"], call.listed()) == (id_, [id_])


# Ends


def test_what_is_ended_is_null_and_no_such_instance(call: Caller) -> None:
    id_ = call.rented()
    assert call.destroy(id_).json() == {"success": True}
    assert call("GET", f"/v0/instances/{id_}/", params={"owner": "me"}).json() == {"instances": None}
    again = call.destroy(id_)
    assert (again.status_code, again.json()["error"]) == (404, "no_such_instance")
    assert call.listed() == []
    assert usd_per_hour(call) == 0


def test_an_end_may_take_its_time_or_not_be_one(call: Caller) -> None:
    call.cloud.misbehave({"do": "delete-lag", "seconds": 60, "times": 1}, {"do": "delete-204-stays", "after": 1})
    slow, stays = call.rented(), call.rented()
    assert [call.destroy(id_).status_code for id_ in (slow, stays)] == [200, 200]
    assert call.listed() == [slow, stays]
    call.cloud.clock.advance(61)
    assert call.instance(slow) is None
    assert call.listed() == [stays]


def test_a_stop_keeps_the_disk_and_its_price_and_a_start_goes_on(call: Caller) -> None:
    id_ = call.rented()
    running(call, id_)
    assert call("PUT", f"/v0/instances/{id_}/", {"state": "stopped"}).json() == {"success": True}
    stopped = call.instance(id_)
    assert [stopped[name] for name in ("intended_status", "cur_state", "next_state")] == ["stopped"] * 3
    assert usd_per_hour(call) == pytest.approx(stopped["storage_total_cost"])
    assert call("PUT", f"/v0/instances/{id_}/", {"state": "running"}).json() == {"success": True}
    assert running(call, id_)["ports"]


def test_a_start_may_find_the_machine_taken(call: Caller) -> None:
    whole = call.offer("H200", num_gpus={"eq": 8})
    id_ = call.rented(whole["id"])
    call("PUT", f"/v0/instances/{id_}/", {"state": "stopped"})
    call.rented(call.offer("H200", num_gpus={"eq": 1}, machine_id={"eq": whole["machine_id"]})["id"])
    refused = call("PUT", f"/v0/instances/{id_}/", {"state": "running"}).json()
    assert not refused["success"]
    assert "currently unavailable" in refused["msg"]


def test_a_label_can_be_changed(call: Caller) -> None:
    id_ = call.rented()
    call("PUT", f"/v0/instances/{id_}/", {"label": "gpu-z"})
    assert call.listed(select_filters={"label": {"eq": "gpu-z"}}) == [id_]


@pytest.mark.parametrize("by_hand", [False, True])
def test_who_is_outbid_is_stopped_and_pays_for_the_disk(call: Caller, by_hand: bool) -> None:
    if not by_hand:
        call.cloud.misbehave({"do": "outbid", "seconds": 60})
    id_ = call.rented(price=1.0)
    running(call, id_)
    call.cloud.clock.advance(61)
    if by_hand:
        call.cloud.outbid("gpu-a")
    instance = call.instance(id_)
    assert [instance[name] for name in ("intended_status", "cur_state", "next_state")] == ["stopped"] * 3
    assert instance["actual_status"] == "exited"
    assert usd_per_hour(call) == pytest.approx(instance["storage_total_cost"])


def test_nobody_outbids_what_is_not_there(call: Caller) -> None:
    with pytest.raises(LookupError):
        call.cloud.outbid("gpu-a")


def test_without_credit_and_at_the_end_of_the_contract_everything_is_stopped(call: Caller) -> None:
    id_ = call.rented(call.search(machine_id={"eq": 13504})[0]["id"])
    running(call, id_)
    assert call.instance(id_)["duration"] == pytest.approx(0.6 * 86_400, abs=5)
    call.cloud.clock.advance(0.6 * 86_400)
    assert call.instance(id_)["intended_status"] == "stopped"
    poor = call.rented(call.offer("B300", num_gpus={"eq": 8})["id"])
    running(call, poor)
    call.cloud.clock.advance(3 * 3600)
    assert call.instance(poor)["intended_status"] == "stopped"


# Bills


def test_the_disk_bills_always_the_cards_while_it_runs_and_traffic_once() -> None:
    with VastEmulator(boot_s=1000, image_gb=10) as cloud:
        call = Caller(cloud)
        offer = call.offer()
        id_ = call.rented(offer["id"], disk=72)
        disk_usd = offer["storage_cost"] / 10
        traffic_usd = 10 * offer["inet_down_cost"]
        cloud.clock.advance(900)
        assert cloud.bill()["usd"] == pytest.approx(traffic_usd + disk_usd / 4, rel=1e-2)
        cloud.clock.advance(100)
        running(call, id_)
        before = cloud.bill()["usd"]
        cloud.clock.advance(3600)
        assert cloud.bill()["usd"] - before == pytest.approx(offer["dph_base"] + disk_usd, rel=1e-2)
        assert [one["name"] for one in cloud.bill()["resources"]] == ["gpu-a"]


# Inside


def test_a_container_gets_what_was_packed_and_what_the_cloud_injects(serving: tuple[Caller, int]) -> None:
    call, id_ = serving
    said = get(url_of(call, id_))
    env = said["env"]
    assert (env["SECRET"], env["PLAIN"], env["CONTAINER_ID"]) == ("a b 'c'", "1", str(id_))
    assert (env["CONTAINER_LABEL"], env["VAST_CONTAINERLABEL"]) == ("gpu-a", f"C.{id_}")
    assert (env["PUBLIC_IPADDR"], env["GPU_COUNT"]) == ("127.0.0.1", "1")
    assert url_of(call, id_).endswith(f":{env['VAST_TCP_PORT_8000']}")
    assert Caller(call.cloud, env["CONTAINER_API_KEY"]).instance(id_)["id"] == id_
    assert not [name for name in env if name.startswith(("-p", "GPU_BOX_"))]
    assert said["argv"][0] == "--port"
    assert said["argv"][1] != "8000"


def test_the_port_of_a_supervisor_is_rewritten_inside_of_the_parcel(call: Caller) -> None:
    document = json.dumps({"port": 8000, "engine": ["vllm", "--port", "8000"]})
    env, argv = unpack(env_on(pack({"GPU_SUPERVISOR": document}, ["python3", "--port=8000"]), 8000, 20001))
    assert json.loads(env["GPU_SUPERVISOR"]) == {"port": 20001, "engine": ["vllm", "--port", "20001"]}
    assert argv == ["python3", "--port=20001"]


def test_the_key_may_be_missing_inside() -> None:
    with VastEmulator(boot_s=0, engine="stub", misbehave=[{"do": "no-container-key"}]) as cloud:
        call = Caller(cloud)
        id_ = call.rented(**boxed("python3", "-c", SERVES, "--port", "8000"))
        assert "CONTAINER_API_KEY" not in get(url_of(call, id_))["env"]


@pytest.mark.parametrize(("run_type", "runs"), [("args", True), (None, True), ("ssh_direct", False)])
def test_only_the_run_type_args_runs_a_command(run_type: str | None, runs: bool) -> None:
    spec = container_spec(1, new_instance(runtype=run_type, onstart="/bin/sh", args=["-c", "true"]), {})
    assert (*spec.entrypoint, *spec.cmd) == (("/bin/sh", "-c", "true") if runs else ("sleep", "infinity"))


def test_a_port_is_closed_while_nothing_listens_behind_it(call: Caller) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(url_of(call, call.rented()), verify=False)


def test_whoever_redirects_a_port_is_in_the_middle(call: Caller, serving: tuple[Caller, int]) -> None:
    id_ = call.rented()
    url = url_of(call, id_)
    call.cloud.redirect("gpu-a", int(url_of(*serving).rpartition(":")[2]))
    assert get(url)["env"]["CONTAINER_ID"] == str(serving[1])


# Logs


def test_a_log_is_uploaded_a_moment_later_and_read_without_a_key(call: Caller) -> None:
    call.cloud.misbehave({"do": "crash-loop"})
    id_ = call.rented()
    until(lambda: call.instance(id_)["actual_status"] == "exited")
    told = call("PUT", f"/v0/instances/request_logs/{id_}/", {"tail": "1"}).json()
    assert httpx.get(told["result_url"], verify=False).status_code == 403
    until(lambda: httpx.get(told["result_url"], verify=False).status_code == 200)
    assert httpx.get(told["result_url"], verify=False).text == "RuntimeError: Engine core failed to start\n"
    assert httpx.get(told["result_url"], headers=call.headers, verify=False).status_code == 400


def test_a_log_may_be_filtered_or_be_the_daemons(call: Caller) -> None:
    id_ = call.rented()
    running(call, id_)
    asked = {"daemon_logs": "true", "filter": "start container"}
    told = call("PUT", f"/v0/instances/request_logs/{id_}/", asked).json()
    until(lambda: httpx.get(told["result_url"], verify=False).status_code == 200)
    text = httpx.get(told["result_url"], verify=False).text
    assert text == "start container for vllm/vllm-openai:v0.32.0: begin\n"


def test_a_log_may_be_at_the_address_of_the_one_before_which_is_there_until_it_comes(call: Caller) -> None:
    call.cloud.misbehave({"do": "stale-log"})
    id_ = call.rented()
    running(call, id_)

    def asked_for(line: str) -> str:
        container_of(call, id_).log.add(CONTAINER, line)
        url: str = call("PUT", f"/v0/instances/request_logs/{id_}/", {}).json()["result_url"]
        return url

    first = asked_for("one")
    until(lambda: httpx.get(first, verify=False).text == "one\n")
    assert asked_for("two") == first
    stale = httpx.get(first, verify=False)
    assert stale.text == "one\n"
    assert parsedate_to_datetime(stale.headers["last-modified"]) <= parsedate_to_datetime(stale.headers["date"])
    until(lambda: httpx.get(first, verify=False).text == "one\ntwo\n")


def test_what_is_gone_has_no_log(call: Caller) -> None:
    refused = call("PUT", "/v0/instances/request_logs/1/", {"tail": "10"})
    assert (refused.status_code, refused.json()["error"]) == (404, "invalid_id")


# The emulator


def test_the_environment_points_the_product_here() -> None:
    with VastEmulator(speed=100) as cloud:
        assert cloud.env == {"GPU_VAST_API_URL": cloud.url, "VAST_API_KEY": cloud.key, "GPU_VAST_POLL_S": "0.1"}
    with VastEmulator() as cloud:
        assert "GPU_VAST_POLL_S" not in cloud.env


def test_its_state_is_told(call: Caller) -> None:
    id_ = call.rented()
    state = httpx.get(f"{call.cloud.url}/_emulator/state", verify=False).json()
    assert [one["id"] for one in state["instances"]] == [id_]


@pytest.mark.parametrize("what", ["unknown-enum", "missing-fields", "truncated", "html"])
def test_its_answers_may_be_spoiled(call: Caller, what: str) -> None:
    id_ = call.rented()
    call.cloud.misbehave({"do": what, "call": "get"})
    text = call("GET", f"/v0/instances/{id_}/").text
    assert {
        "unknown-enum": '"actual_status": "HIBERNATING"' in text,
        "missing-fields": '"id"' in text and '"status_msg"' not in text,
        "truncated": text.startswith('{"instances"') and not text.endswith("}"),
        "html": text.startswith("<!DOCTYPE"),
    }[what]
