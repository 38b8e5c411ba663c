"""What a launch at Vast.ai carries arrives in the container as it was, in variables that any shell and API let pass."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.fleet.node.node import packed_node, template
from gpu_providers.vast import unpack as unpack_module
from gpu_providers.vast.packing import MOST_CHARACTERS, SCRIPT, characters, pack, pack_labels, unpack, unpack_labels

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True).filter(lambda name: not name.startswith("GPU_BOX_"))
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=400)
SHOW = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]]))"
"""Tells what a command was started with."""


def started(variables: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment and the arguments of the command that the script becomes."""
    ran = subprocess.run(
        ["/bin/sh", "-c", SCRIPT],
        env={"PATH": os.environ["PATH"], "CONTAINER_ID": "4242", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    environment, arguments = json.loads(ran.stdout)
    return environment, arguments


@given(env=st.dictionaries(NAMES, VALUES, max_size=5), argv=st.lists(VALUES, max_size=5))
def test_what_was_packed_is_unpacked_whatever_it_is(env: dict[str, str], argv: list[str]) -> None:
    assert unpack({"PATH": "/bin", **pack(env, argv), **pack_labels({"recipe": "llama"})}) == (env, argv)


@given(labels=st.dictionaries(st.text(), st.text()))
def test_labels_are_read_back_from_among_other_variables(labels: dict[str, str]) -> None:
    assert unpack_labels({**pack({}, ["sh"]), **pack_labels(labels)}) == labels


def test_what_is_not_ours_has_no_labels() -> None:
    assert unpack_labels({}) == {}
    assert unpack_labels({"GPU_LABELS_000": "not base64!"}) == {}
    assert unpack_labels({"GPU_LABELS_000": "bnVsbA=="}) == {}
    assert unpack_labels({"GPU_LABELS_000": "/w=="}) == {}


@given(env=st.dictionaries(NAMES, VALUES, max_size=5))
def test_every_variable_is_short_and_without_special_characters(env: dict[str, str]) -> None:
    for name, value in {**pack(env, ["sh", "-c", "'\""]), **pack_labels(env)}.items():
        assert len(name) + len(value) < 256
        assert re.fullmatch(r"GPU_(BOX|LABELS)_\d{3}", name)
        assert re.fullmatch(r"[A-Za-z0-9+/=]+", value)


def test_the_command_starts_with_the_environment_that_was_packed() -> None:
    env = {"VLLM_API_KEY": "sk-'\"$HOME`", "TEMPLATE": "line 1\nline 2\n", "EMPTY": "", "PATH": os.environ["PATH"]}
    arguments = ["--a b", "{'json': \"yes\"}", "", "$(id)", "ü\n"]
    environment, received = started(pack(env, [sys.executable, "-c", SHOW, *arguments]))
    assert received == arguments
    assert {name: environment[name] for name in env} == env
    assert environment["CONTAINER_ID"] == "4242"


def test_nothing_of_the_parcel_stays_in_the_environment_of_the_command() -> None:
    parcel = {**pack({"LONG": os.urandom(900).hex()}, [sys.executable, "-c", SHOW]), **pack_labels({"name": "llama"})}
    assert len(parcel) > 4
    environment, _ = started(parcel)
    assert [name for name in environment if name.startswith(("GPU_BOX", "GPU_LABELS"))] == []


def test_a_parcel_that_is_not_whole_starts_nothing() -> None:
    parcel = pack({"LONG": os.urandom(900).hex()}, [sys.executable, "-c", SHOW])
    del parcel["GPU_BOX_001"]
    with pytest.raises(subprocess.CalledProcessError):
        started(parcel)


def test_the_script_is_short_enough_for_the_command_of_an_instance() -> None:
    assert len("/bin/sh" + "-c" + SCRIPT) < 4000


def test_the_script_is_one_line_of_plain_characters() -> None:
    assert re.fullmatch(r"[ -~]+", SCRIPT)


def test_the_script_needs_no_newer_python_than_the_oldest_images_have() -> None:
    assert ast.parse(Path(unpack_module.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))


def test_the_node_of_a_real_launch_fits_into_the_environment_of_an_instance() -> None:
    env = {
        "GPU_NODE": packed_node(),
        "GPU_SUPERVISOR": json.dumps({"limits": "x" * 1500}),
        "GPU_WEIGHTS": json.dumps({"sources": [["hugging-face", "org/model"]], "revision": "f" * 40}),
        "GPU_TLS": os.urandom(900).hex(),
        "VLLM_API_KEY": os.urandom(32).hex(),
    }
    parcel = {**pack(env, ["python3", "-c", template("bootstrap.py")]), **pack_labels({"recipe": "x" * 500})}
    assert characters(parcel) < MOST_CHARACTERS
