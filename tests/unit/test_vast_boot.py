"""What Vast.ai says of an instance, and how far its host has come with it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpu_providers.base import ResourceState
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest, ProviderError, ProviderUnavailable
from gpu_providers.vast.boot import boot
from gpu_providers.vast.instance_answers import is_named, is_ours, resource
from gpu_providers.vast.packing import pack, pack_labels

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MARKS = {"recipe": "llama", "disk_gb": "100", "port": "8000", "usd_per_hour": "1.5"}
OPEN = {
    "22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "37001"}],
    "8000/tcp": [{"HostIp": "::", "HostPort": "37709"}, {"HostIp": "0.0.0.0", "HostPort": "37708"}],
}
STOPPED = {"intended_status": "stopped", "cur_state": "stopped", "next_state": "stopped"}


def environment(labels: dict[str, str]) -> list[list[str]]:
    variables = {"-p 8000:8000": "1", **pack({"KEY": "sk-secret"}, ["sh"]), **pack_labels(labels)}
    return [list(pair) for pair in variables.items()]


def instance(**changes: Any) -> dict[str, Any]:
    """One that runs, as recorded answers have it."""
    return {
        "id": 4242,
        "label": "gpu-llama-1",
        "actual_status": "running",
        "intended_status": "running",
        "cur_state": "running",
        "next_state": "running",
        "status_msg": "success, running vllm/vllm-openai/args\n",
        "public_ipaddr": " 203.0.113.9\n",
        "ports": OPEN,
        "extra_env": environment(MARKS),
        "dph_total": 1.61,
        "is_bid": False,
        "start_date": (NOW - timedelta(minutes=5)).timestamp(),
        "end_date": (NOW + timedelta(days=9)).timestamp(),
        "duration": timedelta(days=9).total_seconds(),
        "disk_space": 100.0,
        "geolocation": "Oslo, NO",
        **changes,
    }


def seen(**changes: Any) -> tuple[ResourceState, str]:
    found = resource(instance(**changes), NOW)
    return found.state, found.detail


# What it is


def test_an_instance_tells_its_name_price_place_time_and_labels() -> None:
    found = resource(instance(), NOW)
    assert (found.provider, found.resource_id, found.name, found.region) == ("vast", "4242", "gpu-llama-1", "Oslo, NO")
    assert found.price_usd_per_hour == 1.61
    assert found.created_at == NOW - timedelta(minutes=5)
    assert found.labels["recipe"] == "llama"


def test_what_was_asked_stands_in_for_a_price_that_vast_does_not_say() -> None:
    assert resource(instance(dph_total=None), NOW).price_usd_per_hour == 1.5


def test_no_secret_of_its_environment_is_in_what_is_told_of_it() -> None:
    shown = repr(resource(instance(), NOW))
    assert "sk-secret" not in shown
    assert not [value for name, value in environment(MARKS) if name.startswith("GPU_BOX") and value in shown]


def test_an_instance_without_an_id_is_no_answer() -> None:
    for nameless in (None, "", True, {}, 0, -7, "7; 8"):
        with pytest.raises(ProviderUnavailable):
            resource(instance(id=nameless), NOW)


def test_an_id_is_read_from_text_as_well() -> None:
    assert resource(instance(id="4242"), NOW).resource_id == "4242"


def test_only_our_prefix_with_our_labels_makes_an_instance_ours() -> None:
    assert is_ours(instance())
    assert not is_ours(instance(label="my-llama"))
    with pytest.raises(ProviderUnavailable, match="without its label"):  # whose it is nobody can tell
        is_ours(instance(label=None))
    assert not is_ours(instance(extra_env=[["OPEN_BUTTON_PORT", "1111"]]))
    assert not is_ours(instance(extra_env=None))


@pytest.mark.parametrize("damaged", ["***", "eyJyZWNpcGUiOiAi", ""])
def test_an_instance_whose_labels_are_hidden_or_cut_is_ours_all_the_same(damaged: str) -> None:
    found = instance(extra_env=[["GPU_LABELS_000", damaged]])
    assert is_ours(found)
    assert is_named(found, "gpu-llama-1")
    assert resource(found, NOW).labels == {}


def test_a_name_of_ours_is_known_even_where_the_environment_is_not_shown() -> None:
    assert is_named(instance(), "gpu-llama-1")
    assert is_named(instance(extra_env=None), "gpu-llama-1")
    assert not is_named(instance(extra_env=[["OPEN_BUTTON_PORT", "1111"]]), "gpu-llama-1")
    assert not is_named(instance(), "gpu-llama-2")


@pytest.mark.parametrize(
    "extra_env",
    [
        environment(MARKS),
        dict(map(tuple, environment(MARKS))),
        ["=".join(pair) for pair in environment(MARKS)],
        [None, 7, ["lonely"], *environment(MARKS)],
    ],
)
def test_labels_are_read_from_every_form_in_which_vast_shows_an_environment(extra_env: Any) -> None:
    assert resource(instance(extra_env=extra_env), NOW).labels == MARKS


# Where it is reached


def test_the_endpoint_is_the_hosts_port_for_ours_at_the_trimmed_address() -> None:
    assert resource(instance(), NOW).endpoint == "http://203.0.113.9:37708"


@pytest.mark.parametrize(
    "bindings",
    [
        [{"HostIp": "0.0.0.0", "HostPort": 37708}],
        [{"HostPort": "37708"}],
        [None, {"HostIp": "::", "HostPort": "1"}, {"HostIp": "0.0.0.0", "HostPort": "37708"}],
    ],
)
def test_the_port_is_read_from_every_form_of_its_bindings(bindings: Any) -> None:
    assert resource(instance(ports={"8000/tcp": bindings}), NOW).endpoint == "http://203.0.113.9:37708"


def test_an_address_of_ipv6_is_one_of_a_url() -> None:
    assert resource(instance(public_ipaddr="2001:db8::9 "), NOW).endpoint == "http://[2001:db8::9]:37708"


@pytest.mark.parametrize(
    "missing",
    [
        {"ports": {}},
        {"ports": None},
        {"ports": [37708]},
        {"ports": {"8000/tcp": None}},
        {"ports": {"8000/tcp": [37708]}},
        {"ports": {"8000/tcp": [{"HostIp": "::", "HostPort": "37709"}]}},
        {"ports": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "none"}]}},
        {"ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "37001"}]}},
        {"public_ipaddr": None},
        {"public_ipaddr": " \n"},
    ],
)
def test_until_its_own_port_is_open_a_running_container_is_still_starting(missing: dict[str, Any]) -> None:
    found = resource(instance(**missing), NOW)
    assert (found.state, found.endpoint) == (ResourceState.STARTING, "")
    assert not boot(instance(**missing), NOW).running


def test_an_address_is_no_endpoint_before_the_container_runs() -> None:
    assert resource(instance(actual_status="loading"), NOW).endpoint == ""


# Its state


@pytest.mark.parametrize("status", [None, "created", "loading", "rebooting", "recycling", "a-word-of-tomorrow"])
def test_a_status_on_the_way_or_unknown_to_us_is_starting(status: str | None) -> None:
    assert seen(actual_status=status)[0] is ResourceState.STARTING
    assert not boot(instance(actual_status=status), NOW).running


def test_an_instance_that_runs_is_running() -> None:
    assert seen() == (ResourceState.RUNNING, "running")
    assert boot(instance(), NOW).running
    assert boot(instance(), NOW).endpoint == "http://203.0.113.9:37708"


@pytest.mark.parametrize("status", ["exited", "stopped", "frozen"])
def test_what_does_not_come_back_is_broken_and_says_so_in_words(status: str) -> None:
    state, detail = seen(actual_status=status, status_msg="")
    assert state is ResourceState.BROKEN
    assert detail.startswith(("its ", "it is "))


@pytest.mark.parametrize(("status", "said"), [("unknown", "no sign of life"), ("offline", "host is offline")])
def test_a_host_that_falls_silent_ends_a_start_but_not_what_already_ran(status: str, said: str) -> None:
    state, detail = seen(actual_status=status)
    assert state is ResourceState.STARTING
    assert said in detail
    with pytest.raises(HostFailed, match=said):
        boot(instance(actual_status=status), NOW)


def test_an_outbid_instance_is_broken_and_says_that_another_pays_more() -> None:
    assert seen(**STOPPED, is_bid=True) == (ResourceState.BROKEN, "outbid: another renter pays more")
    with pytest.raises(HostFailed, match="outbid"):
        boot(instance(**STOPPED, is_bid=True, actual_status="exited"), NOW)


def test_an_instance_that_vast_has_stopped_names_the_credit_or_the_end_of_the_contract() -> None:
    assert "no credit" in seen(**STOPPED)[1]
    assert "is over" in seen(**STOPPED, duration=-3600.0)[1]
    with pytest.raises(HostFailed, match="no credit"):
        boot(instance(**STOPPED, actual_status="loading"), NOW)


def test_an_instance_that_is_meant_to_be_what_nobody_knows_yet_goes_on() -> None:
    words = dict.fromkeys(STOPPED, "a-word-of-tomorrow")
    assert seen(**words)[0] is ResourceState.RUNNING
    assert boot(instance(**words), NOW).running


def test_a_young_contract_may_be_meant_to_be_stopped_for_a_moment() -> None:
    flipped = {"intended_status": "stopped", "actual_status": "loading"}
    young = (NOW - timedelta(seconds=20)).timestamp()
    assert seen(**flipped, start_date=young)[0] is ResourceState.STARTING
    assert seen(**flipped)[0] is ResourceState.BROKEN
    assert seen(**{**flipped, **STOPPED}, start_date=young)[0] is ResourceState.BROKEN


def test_how_young_a_contract_is_goes_by_the_clouds_clock_where_that_is_told() -> None:
    flipped = {"intended_status": "stopped", "actual_status": "loading"}
    ahead = {"start_date": NOW.timestamp() + 3600, "end_date": NOW.timestamp() + 4000}
    assert seen(**flipped, **ahead, duration=390.0)[0] is ResourceState.STARTING
    assert seen(**flipped, **ahead, duration=300.0)[0] is ResourceState.BROKEN
    assert seen(**flipped, start_date=NOW.timestamp() - 20, duration=None)[0] is ResourceState.STARTING
    assert seen(**flipped, start_date=NOW.timestamp() - 40, duration=None)[0] is ResourceState.BROKEN


@pytest.mark.parametrize(
    "field", ["start_date", "end_date", "duration", "dph_total", "disk_space", "is_bid", "geolocation"]
)
@pytest.mark.parametrize("value", [None, "", "soon", [], 1e300])
def test_no_odd_value_of_a_field_breaks_the_reading(field: str, value: object) -> None:
    assert resource(instance(**{field: value}), NOW).state is ResourceState.RUNNING


def test_fields_that_are_missing_read_as_an_instance_on_its_way() -> None:
    found = resource({"id": 7}, NOW)
    assert (found.state, found.created_at, found.detail) == (ResourceState.STARTING, NOW, "waiting for the host")


# How far its host has come


def test_progress_is_the_last_line_that_the_host_has_said() -> None:
    said = "pulling\n2f1c: Downloading 1.2GB/4.5GB\n\n"
    assert boot(instance(actual_status="loading", status_msg=said), NOW).detail == (
        "loading: 2f1c: Downloading 1.2GB/4.5GB"
    )
    assert len(boot(instance(actual_status="loading", status_msg="x" * 9999), NOW).detail) < 200


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Error response from daemon: manifest for vllm/x:1 not found: manifest unknown", InvalidRequest),
        ("Error response from daemon: pull access denied for x, repository does not exist", InvalidRequest),
        ('OCI runtime create failed: exec: "/bin/sh": executable file not found in $PATH', InvalidRequest),
        ('OCI runtime create failed: exec: "nvidia-container-runtime-hook": executable file not found', HostFailed),
        ("Error response from daemon: OCI runtime create failed: nvidia-container-cli: device error", HostFailed),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0", HostFailed),
        ("write /var/lib/docker: no space left on device", HostFailed),
        ("toomanyrequests: You have reached your pull rate limit", HostFailed),
        ("Error response from daemon: something new", HostFailed),
    ],
)
@pytest.mark.parametrize("status", ["created", "loading", "exited"])
def test_an_error_of_docker_ends_the_waiting(status: str, message: str, error: type[ProviderError]) -> None:
    with pytest.raises(error) as raised:
        boot(instance(actual_status=status, status_msg=f"pulling\n{message}\n"), NOW)
    assert type(raised.value) is error
    assert message[:40] in raised.value.message


def test_what_a_host_says_is_told_without_the_secrets_that_it_quotes() -> None:
    box = pack({"KEY": "sk-secret"}, ["sh"])["GPU_BOX_000"]
    said = f"Error response from daemon: docker run -e GPU_BOX_000={box}"
    quoting = instance(actual_status="loading", status_msg=said)
    assert box not in resource(quoting, NOW).detail
    with pytest.raises(HostFailed, match="docker run") as raised:
        boot(quoting, NOW)
    assert box not in raised.value.message


def test_old_words_of_docker_do_not_count_against_a_container_that_runs() -> None:
    assert boot(instance(status_msg="Error response from daemon: retried"), NOW).running


def test_a_container_that_has_ended_by_itself_is_a_crashed_command() -> None:
    with pytest.raises(CommandCrashed):
        boot(instance(actual_status="exited"), NOW)


@pytest.mark.parametrize("status", ["stopped", "offline", "frozen", "unknown"])
def test_a_host_that_went_away_is_a_failed_host(status: str) -> None:
    with pytest.raises(HostFailed):
        boot(instance(actual_status=status), NOW)


@pytest.mark.parametrize("status", ["loading", "running"])
def test_a_disk_that_was_cut_is_a_failed_host(status: str) -> None:
    with pytest.raises(HostFailed, match="95 GB of disk of the 100 GB"):
        boot(instance(actual_status=status, disk_space=95.0), NOW)
    assert boot(instance(disk_space=99.8), NOW).running
    assert boot(instance(disk_space=None), NOW).running


# What it costs


@pytest.mark.parametrize(
    ("status", "usd_per_hour"),
    [
        *(("running", 1.61), ("frozen", 1.61), ("a new word", 1.61)),
        *(("loading", 0.11), (None, 0.11), ("exited", 0.11), ("offline", 0.0)),
    ],
)
def test_gpus_bill_only_while_it_runs_and_the_disk_while_its_host_is_online(
    status: str | None, usd_per_hour: float
) -> None:
    told = instance(actual_status=status, dph_base=1.5, storage_total_cost=0.11)
    found = resource(told, NOW)
    assert (found.price_usd_per_hour, found.full_price) == (usd_per_hour, 1.61)
    del told["storage_total_cost"]
    assert resource(told, NOW).price_usd_per_hour == pytest.approx(usd_per_hour)


@pytest.mark.parametrize(("status", "usd_per_hour"), [("running", 1.61), ("loading", 0.11)])
def test_a_look_at_a_start_tells_what_it_bills(status: str, usd_per_hour: float) -> None:
    assert boot(instance(actual_status=status, storage_total_cost=0.11), NOW).price_usd_per_hour == usd_per_hour


def test_where_vast_does_not_tell_the_parts_all_of_it_counts() -> None:
    assert resource(instance(actual_status="loading"), NOW).price_usd_per_hour == 1.61
