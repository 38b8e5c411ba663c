"""What a rented machine is told to run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fleets import NOW, Cloud, deployment, make_fleet

import supervisor
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.node.node import disk_gib, packed_node
from gpu_cli.fleet.node.runtime import prepare, request_for
from gpu_cli.fleet.node.slim import slimmed
from gpu_cli.fleet.recover import described
from gpu_cli.paths import shipped
from gpu_cli.planner.rank import Candidate, rank
from gpu_cli.recipe.schema import Recipe
from gpu_cli.ui.progress import Silent
from gpu_cli.weights.hub_cache import HUB_FOLDER, local_hub
from gpu_providers.base import Bucket, Kind, LaunchRequest, Link, Offer, Secret, SelfDestruction, Volume, VolumeStore

SECRETS = {"HF_TOKEN": "hf-secret", "AWS_SECRET_ACCESS_KEY": "aws-secret", "AWS_ACCESS_KEY_ID": "AKIA-secret"}
MOST_PACKED_CHARACTERS = 22_000
"""One cloud takes 32768 in all variables together, packed once more: room for the rest is needed."""


class PodCloud(Cloud, VolumeStore):
    """A cloud with volumes whose resources can end themselves."""

    volume_path = "/workspace"

    def self_destruction(self, options: Mapping[str, object]) -> SelfDestruction:  # noqa: ARG002
        pod = "https://cloud.example/pods/{POD_ID}"
        headers = {"Authorization": "Bearer {CLOUD_KEY}"}
        return SelfDestruction("DELETE", pod, headers, "GET", pod, {404: "no_pod"}, "gpu-cli/1", ("CLOUD_KEY",))

    def volumes(self) -> Sequence[Volume]:
        return []

    def create_volume(self, name: str, size_gb: int, region: str) -> Volume:
        raise NotImplementedError

    def delete_volume(self, volume_id: str) -> None:
        raise NotImplementedError

    def bucket(self, volume: Volume) -> Bucket:
        raise NotImplementedError


class EdgeCloud(Cloud):
    """A cloud with a key at its edge."""

    def edge_key(self, kind: Kind, name: str) -> Secret | None:  # noqa: ARG002 - one for all
        return Secret("edge-secret") if kind is Kind.SERVERLESS else None


def recipe_of(**content: object) -> Recipe:
    document = {"name": "tiny", "model": "org/model", "gpu": {"names": ("H100",)}, **content}
    return Recipe.model_validate(document, context=Path("/tiny.yaml"))


def candidate_of(recipe: Recipe, kind: Kind = Kind.POD, gpu_count: int = 1) -> Candidate:
    gpu = recipe.gpu.model_copy(update={"count": gpu_count})
    offer = Offer("cloud", kind, "offer", "H100", gpu_count, 80.0, "", 2.0, {}, datetime(2026, 1, 1, tzinfo=UTC))
    (candidate,) = rank(recipe.model_copy(update={"gpu": gpu}), [offer], None).candidates
    return candidate


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return replace(make_fleet(tmp_path, PodCloud()), environ=SECRETS)


def request_of(
    fleet: Fleet, kind: Kind = Kind.POD, gpu_count: int = 1, link: Link = Link.DIRECT, **content: object
) -> LaunchRequest:
    recipe = recipe_of(**content)
    candidate = candidate_of(recipe, kind, gpu_count)
    prepared = prepare(fleet, recipe, candidate, fleet.provider("cloud"), Silent())
    return request_for(fleet, recipe, deployment(kind=kind, link=link, host="m4711"), candidate, prepared)


def weights_of(request: LaunchRequest) -> Any:
    return json.loads(request.env["GPU_WEIGHTS"])


# --- a container -----------------------------------------------------------------------------------------------------


def test_a_container_runs_our_supervisor_in_the_engines_image(fleet: Fleet) -> None:
    request = request_of(fleet)
    assert (request.image, request.min_cuda_version) == ("vllm/vllm-openai:v0.32.0", "13.0")
    assert (request.entrypoint, request.port) == (("python3",), 8000)
    assert request.command == ("-c", slimmed((shipped("templates") / "bootstrap.py").read_text(encoding="utf-8")))
    assert request.labels["name"] == "tiny"
    assert weights_of(request) == {"sources": [["hf", "org/model"]], "revision": None, "folder": "weights"}


def test_the_supervisor_takes_its_configuration(fleet: Fleet) -> None:
    config = supervisor.parse_config(request_of(fleet, gpu_count=2).env["GPU_SUPERVISOR"])
    engine = config.engine
    assert engine[:3] == ("python3", "engine_start.py", "2")
    assert engine[3:6] == ("python3", "-m", "vllm.entrypoints.openai.api_server")
    assert engine[engine.index("--model") + 1] == "{weights}"
    assert engine[engine.index("--host") + 1] == "0.0.0.0"
    assert engine[engine.index("--port") + 1] == "8000"
    assert (config.limits.deadline_s, config.limits.idle_s, config.launched_at) == (3600, 600, NOW)
    assert config.destroy
    assert config.destroy.call.url == "https://cloud.example/pods/{POD_ID}"
    assert config.destroy.check.headers["User-Agent"] == "gpu-cli/1"
    assert config.destroy.says_gone(404, b"no_pod")
    assert not config.destroy.says_gone(404, b"wrong key")
    assert config.engine_env_without == ("CLOUD_KEY",)


def test_what_is_sent_to_end_it_reaches_the_supervisor_as_it_is(tmp_path: Path) -> None:
    cloud = PodCloud()
    body = '{"instance_ids": ["{POD_ID}"]}'
    ended_by = replace(cloud.self_destruction({}), method="POST", body=body)
    cloud.self_destruction = lambda options: ended_by  # type: ignore[method-assign] # noqa: ARG005
    config = supervisor.parse_config(request_of(make_fleet(tmp_path, cloud)).env["GPU_SUPERVISOR"])
    assert config.destroy
    assert (config.destroy.call.method, config.destroy.call.body, config.destroy.check.body) == ("POST", body, "")


def test_hosts_with_an_older_driver_have_an_image_of_the_same_release(fleet: Fleet) -> None:
    assert request_of(fleet).older_image == "vllm/vllm-openai:v0.32.0-cu129"
    assert request_of(fleet, engine={"version": "0.19.1"}).older_image == ""


@pytest.mark.parametrize("link", list(Link))
def test_the_port_is_public_where_it_is_reached_by_its_own_url(fleet: Fleet, link: Link) -> None:
    assert request_of(fleet, link=link).public == (link is Link.DIRECT)


def test_over_ssh_the_engine_has_no_tls_of_its_own(fleet: Fleet) -> None:
    request = request_of(fleet, link=Link.SSH)
    config = supervisor.parse_config(request.env["GPU_SUPERVISOR"])
    assert (config.base_url, "--ssl-certfile" in config.engine) == ("http://127.0.0.1:8000", False)
    assert "GPU_TLS" not in request.secret_env


def test_a_cloud_without_the_means_gets_a_supervisor_that_destroys_nothing(tmp_path: Path) -> None:
    config = supervisor.parse_config(request_of(make_fleet(tmp_path)).env["GPU_SUPERVISOR"])
    assert config.destroy is None


def test_no_secret_is_where_it_can_be_read(fleet: Fleet) -> None:
    request = request_of(fleet, weights=("org/model", "s3://bucket/model"))
    key = fleet.keys.read("gpu-tiny-1")
    assert key
    secrets = {name: secret.reveal() for name, secret in request.secret_env.items()}
    assert secrets == {**SECRETS, "VLLM_API_KEY": key.reveal()}
    open_text = json.dumps([request.command, request.entrypoint, dict(request.env), dict(request.labels)])
    assert [name for name, secret in secrets.items() if secret in open_text or secret in repr(request)] == []


def test_a_bare_port_is_served_with_tls_by_a_certificate_of_its_own(fleet: Fleet) -> None:
    request = request_of(fleet, link=Link.TLS)
    config = supervisor.parse_config(request.env["GPU_SUPERVISOR"])
    assert config.base_url == "https://127.0.0.1:8000"
    assert config.engine[-4:] == ("--ssl-certfile", "{tls}", "--ssl-keyfile", "{tls}")
    pem = request.secret_env["GPU_TLS"].reveal()
    assert pem.count("-----BEGIN") == 2
    kept = fleet.certificates.path("gpu-tiny-1").read_text()
    assert pem.startswith(kept)
    assert "PRIVATE KEY" not in kept + repr(request) + json.dumps([request.command, dict(request.env)])


def test_where_the_cloud_brings_tls_the_engine_has_none(fleet: Fleet) -> None:
    request = request_of(fleet)
    config = supervisor.parse_config(request.env["GPU_SUPERVISOR"])
    assert config.base_url == "http://127.0.0.1:8000"
    assert "--ssl-keyfile" not in config.engine
    assert "GPU_TLS" not in request.secret_env


@pytest.mark.parametrize("link", list(Link))
def test_the_labels_tell_a_lost_store_how_and_where_it_is_reached(fleet: Fleet, link: Link) -> None:
    labels = request_of(fleet, link=link).labels
    resource = Cloud().add("gpu-tiny-1", **labels)
    found = described(resource, NOW)
    assert (found.link, found.host) == (link, "m4711")
    unknown = described(Cloud().add("gpu-tiny-1"), NOW)
    assert (unknown.link, unknown.host) == (Link.DIRECT, "")


def test_only_the_credentials_of_the_weights_places_travel(fleet: Fleet) -> None:
    assert set(request_of(fleet).secret_env) == {"VLLM_API_KEY", "HF_TOKEN"}
    from_s3 = request_of(fleet, weights=("s3://bucket/model",))
    assert set(from_s3.secret_env) == {"VLLM_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_what_travels_in_the_environment_stays_small() -> None:
    assert len(packed_node()) < MOST_PACKED_CHARACTERS


def test_a_chat_template_of_this_machine_travels_as_text(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text("{{ messages }}\n")
    for kind in (Kind.POD, Kind.SERVERLESS):
        request = request_of(fleet, kind, chat_template=str(path))
        assert "{{ messages }}" in json.dumps([request.command, request.env.get("GPU_SUPERVISOR")])


def test_a_volume_keeps_the_hubs_cache(fleet: Fleet) -> None:
    request = request_of(fleet, cache={"cloud": "my-weights"})
    assert (request.volume, request.env["HF_HOME"]) == ("my-weights", "/workspace/huggingface")
    assert local_hub(request.env) == Path("/workspace") / HUB_FOLDER
    other = request_of(fleet, cache={"another": "my-weights"})
    assert (other.volume, other.env.get("HF_HOME")) == ("", None)


def test_a_volume_where_there_are_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no network volumes") as refused:
        request_of(make_fleet(tmp_path), cache={"cloud": "my-weights"})
    assert refused.value.exit_status is Exit.BAD_INPUT


def test_a_path_of_this_machine_is_no_place_for_a_rented_one(fleet: Fleet) -> None:
    request = request_of(fleet, weights=("/models/m", "/workspace/m", "org/model"), cache={"cloud": "v"})
    assert weights_of(request)["sources"] == [["path", "/workspace/m"], ["hf", "org/model"]]
    with pytest.raises(UserError, match="cannot reach") as refused:
        request_of(fleet, weights=("/workspace/m",))
    assert refused.value.exit_status is Exit.BAD_INPUT


@pytest.mark.parametrize(
    ("weights_gib", "weights", "expected"),
    [(0, "org/model", 40), (1, "org/model", 40), (130, "org/model", 168), (130, "s3://bucket/model", 311)],
)
def test_the_disk_holds_engine_and_weights(weights_gib: float, weights: str, expected: int) -> None:
    assert disk_gib(weights_gib, recipe_of(weights=(weights,))) == expected


def test_weights_of_unknown_size_are_taken_to_fill_the_cards(fleet: Fleet) -> None:
    assert request_of(fleet, gpu_count=2).disk_gib == disk_gib(160, recipe_of())


# --- serverless ------------------------------------------------------------------------------------------------------


def test_serverless_is_the_images_own_server_with_the_hubs_model(fleet: Fleet) -> None:
    content = {"weights": ("s3://bucket/model", "org/model"), "revision": "v1", "context": 4096}
    request = request_of(fleet, Kind.SERVERLESS, gpu_count=2, **content)
    assert request.entrypoint == ()
    assert request.command[:5] == ("org/model", "--revision", "v1", "--port", "8000")
    assert request.command[5:7] == ("--served-model-name", "tiny")
    assert "--tensor-parallel-size" in request.command
    assert not {"--host", "--middleware", "--model"} & set(request.command)
    assert not [name for name in request.env if name.startswith("GPU_")]
    assert set(request.secret_env) == {"VLLM_API_KEY", "HF_TOKEN"}
    assert (request.idle_s, request.min_cuda_version) == (600, "13.0")


def test_where_workers_run_python_it_is_a_file_that_the_launch_names(fleet: Fleet) -> None:
    entry = request_of(fleet, Kind.SERVERLESS).entry
    assert entry
    assert "GPU_COMMAND" in entry.read_text(encoding="utf-8")
    assert request_of(fleet, Kind.POD).entry is None


def test_where_the_edge_has_a_key_the_engine_gets_none(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, EdgeCloud())
    assert request_of(fleet, Kind.SERVERLESS).secret_env == {}
    assert fleet.keys.read("gpu-tiny-1") is None
    assert set(request_of(fleet, Kind.POD).secret_env) == {"VLLM_API_KEY"}


def test_serverless_without_hub_weights_is_refused(fleet: Fleet) -> None:
    candidate = candidate_of(recipe_of(), Kind.SERVERLESS)
    with pytest.raises(UserError, match="serverless needs hub weights") as refused:
        prepare(fleet, recipe_of(weights=("s3://bucket/model",)), candidate, fleet.provider("cloud"), Silent())
    assert refused.value.exit_status is Exit.BAD_INPUT
