"""What the guard tells Prometheus, and the dashboard that shows it."""

import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing

import httpx
import pytest
from driver import Gpu, wait_until
from prometheus_client.parser import text_string_to_metric_families

from gpu_cli.commands.guard_metrics import with_metrics_at
from gpu_cli.errors import UserError
from gpu_cli.paths import shipped

NAME = re.compile(r"\bgpu_(?:guard|deployment)_\w+")


@pytest.fixture
def port() -> Iterator[int]:
    """One that is free."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        free: int = taken.getsockname()[1]
    return free


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/metrics"


def scrape(port: int) -> tuple[str, Mapping[str, list[tuple[Mapping[str, str], float]]]]:
    """The text, and its samples by name."""
    text = httpx.get(url(port), timeout=10).raise_for_status().text
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return text, found


def is_served(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_all_that_lives_is_told_to_prometheus_by_every_guard_until_it_is_told_to_stop(
    gpu: Gpu, tiny: str, port: int
) -> None:
    kept = gpu("guard", "--metrics", str(port))
    assert (kept.exit, kept.stdout) == (0, f"{url(port)}\n"), kept.stderr
    assert "once something runs" in kept.stderr
    assert gpu("up", tiny).exit == 0
    said = gpu("guard", "--metrics", str(port), "--json")
    assert said.json["metrics"] == {"url": url(port), "served": True, "problem": ""}
    key = gpu("env", "tiny").stdout.split("OPENAI_API_KEY=")[1].split()[0]

    text, samples = scrape(port)
    labels = {"deployment": "tiny", "recipe": "tiny", "provider": "local", "gpu": "cpu"}
    assert samples["gpu_deployment_up"] == [(labels, 1.0)]
    assert samples["gpu_deployment_generation_tokens_total"][0][1] > 0
    assert [told["state"] for told, value in samples["gpu_deployment_state"] if value] == ["ready"]
    armed = {(told["stop"], told["by"]): value for told, value in samples["gpu_deployment_stop_seconds"]}
    assert {"idle", "deadline"} == {stop for stop, _ in armed}
    assert 0 < armed["deadline", "guard"] <= 3600
    assert key.strip("'\"") not in text
    assert [one for one in shown_by_the_dashboard() if one not in samples] == NOT_OF_A_CPU

    gpu.kill_guard()
    assert f"at {url(port)}, once the guard runs" in gpu("guard", "status").stdout
    gpu("ls")
    wait_until(lambda: is_served(port))
    assert gpu("guard", "--metrics", "off").exit == 0
    assert not is_served(port)
    assert gpu("guard", "status", "--json").json["metrics"] is None
    gpu("down")


NOT_OF_A_CPU = ["gpu_deployment_gpu_memory_total_bytes", "gpu_deployment_gpu_memory_used_bytes"]


def shown_by_the_dashboard() -> list[str]:
    """Every name of ours in its queries."""
    dashboard = json.loads((shipped("templates") / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return sorted({name for query in queries for name in NAME.findall(query)})


def test_the_dashboard_is_printed_as_it_is_imported(gpu: Gpu) -> None:
    printed = gpu("guard", "--dashboard")
    assert (printed.exit, printed.json["title"]) == (0, "gpu: deployments")
    identities = [panel["id"] for panel in printed.json["panels"]]
    assert len(set(identities)) == len(identities) > 0
    assert gpu("guard", "--dashboard", "--json").json == printed.json


def test_a_port_that_is_taken_is_refused_and_nothing_is_kept(gpu: Gpu) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        number = taken.getsockname()[1]
        refused = gpu("guard", "--metrics", str(number), "--json")
    assert (refused.exit, refused.error["code"]) == (2, "no-metrics")
    assert refused.error["message"] == f"metrics cannot be served: port {number}: Address already in use"
    assert gpu("guard", "status", "--json").json["metrics"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("--metrics", "9400", "--dashboard"),
        ("--metrics", "9400", "status"),
        ("--json",),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_with_what_does(gpu: Gpu, arguments: tuple[str, ...]) -> None:
    refused = gpu("guard", *arguments)
    assert refused.exit == 2
    assert "hint: " in refused.stderr


@pytest.mark.parametrize("text", ["0", "65536", "-1", "on", "", "94 00", "\N{ARABIC-INDIC DIGIT THREE}"])
def test_what_is_no_port_is_told_so(text: str) -> None:
    with pytest.raises(UserError, match="is no port") as caught:
        with_metrics_at(text)
    assert caught.value.hint
