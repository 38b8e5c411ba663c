"""What Modal refuses, and what does not come up there: which status says so, what to do, and that nothing is left."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from conftest import WriteRecipe
from driver import Gpu, Ran
from emulators.modal_cloud import ModalEmulator
from rented import Kept
from rented_at_modal import assert_nothing_is_left, gpus, up

Rentable = Callable[..., str]
HINT = "set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or run `modal token new`"


@pytest.fixture(scope="module")
def workspace() -> Iterator[ModalEmulator]:
    """With an edge of little patience: a launch asks it once."""
    with ModalEmulator(engine="stub", redirect_after_s=0.3) as cloud:
        yield cloud


@pytest.fixture
def here(at_modal: ModalEmulator, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """One home and one guard for all; nothing is left by any test."""
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    monkeypatch.setenv("GPU_MODAL_POLL_S", "0.1")  # a crash loop is looked for every twelve looks
    yield kept.gpu
    assert_nothing_is_left(at_modal, kept.gpu)


def told(ran: Ran) -> list[str]:
    """What happened and what to do: the two lines in which every failure ends."""
    *_, what, hint = ran.stderr.splitlines()
    assert (what.partition(": ")[0], hint.partition(": ")[0]) == ("error", "hint")
    return [what.partition(": ")[2], hint.partition(": ")[2]]


@pytest.mark.parametrize(
    ("variables", "toml", "status", "message", "hint"),
    [
        ({"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}, "", 4, "there is no token for Modal", HINT),
        ({}, "[default\n", 4, ".modal.toml cannot be read: Expected ']'", "correct it, or move it away"),
        ({"MODAL_TOKEN_SECRET": "as-of-nobody"}, "", 4, "Token", HINT),
        ({"MODAL_SERVER_URL": "http://127.0.0.1:9"}, "", 5, "Modal does not answer (127.0.0.1:9)", "check the network"),
    ],
    ids=["none", "malformed", "wrong", "unreachable"],
)
def test_a_login_or_a_network_that_will_not_do_is_told_in_seconds(
    gpu: Gpu,
    at_modal: ModalEmulator,
    rentable: Rentable,
    variables: Mapping[str, str],
    toml: str,
    status: int,
    message: str,
    hint: str,
) -> None:
    (Path(os.environ["HOME"]) / ".modal.toml").write_text(toml)
    began = time.monotonic()
    ran = gpu("up", rentable("H100"), "--provider", "modal", env=variables)
    assert time.monotonic() - began < 20
    assert (ran.exit, ran.stdout) == (status, "")
    what, to_do = told(ran)
    assert (message in what, hint in to_do) == (True, True), ran.stderr
    assert at_modal.account.token_secret not in ran.stderr
    assert at_modal.functions_created == []


def test_a_workspace_at_its_spend_limit_is_status_4_and_no_other_card_is_tried(
    here: Gpu, at_modal: ModalEmulator, rentable: Rentable
) -> None:
    at_modal.misbehave({"do": "spend-limit"})
    refused = up(here, rentable("H100", "H200"))
    assert (refused.exit, refused.error["still_billing"]) == (4, [])
    what, to_do = told(refused)
    assert "workspace billing cycle spend limit reached" in what
    assert "https://modal.com/settings/usage" in to_do
    assert at_modal.front.calls.count("FunctionCreate") == 1


def test_an_image_that_cannot_be_built_is_no_matter_of_the_card_and_its_last_words_are_told(
    here: Gpu, at_modal: ModalEmulator, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_FORCE_BUILD", "1")  # else one that was built before will do
    at_modal.misbehave({"do": "image-build-failed", "text": "vllm/vllm-openai:v0.32.0: manifest unknown"})
    refused = up(here, rentable("H100", "H200"))
    assert (refused.exit, refused.error["code"]) == (2, "refused")
    what, to_do = told(refused)
    assert "manifest unknown" in what
    assert to_do == "correct the image, or name another one"


def test_a_card_that_the_workspace_may_not_have_is_passed_over(
    here: Gpu, at_modal: ModalEmulator, rentable: Rentable
) -> None:
    at_modal.misbehave({"do": "gpu-refused", "gpu": "H100!"}, {"do": "no-capacity"})
    launched = up(here, rentable("H100", "H200"), "--no-wait")
    assert launched.exit == 0, launched.stderr
    assert "modal-1xH100: Modal, asked to deploy" in launched.stderr
    assert gpus(at_modal) == ["H200:1"]
    down = here("down", "tiny")
    assert down.exit == 0, down.stderr


def test_an_engine_that_dies_again_and_again_is_ended_with_the_line_that_tells_why(
    here: Gpu, at_modal: ModalEmulator, recipe: WriteRecipe
) -> None:
    said = "CUDA error: no CUDA-capable device is detected"
    content = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "gpu": {"names": ["H100"], "count": 1}}
    ran = up(here, str(recipe(**content, misbehaviour={"die": [said], "exit": 7})))
    assert (ran.exit, ran.error["still_billing"]) == (6, [])
    what, to_do = told(ran)
    assert what.endswith(f"containers crashed, the last with status 7: {said}")
    assert to_do == "read what its containers said: https://modal.com/apps"


def test_a_card_that_is_not_to_be_had_is_waited_for_as_long_as_the_user_says_and_costs_nothing(
    here: Gpu, at_modal: ModalEmulator, rentable: Rentable
) -> None:
    at_modal.misbehave({"do": "no-capacity"})
    bill_usd = at_modal.bill()["usd"]
    ran = up(here, rentable(gpu={"names": ["H100"], "count": 1}), "--start-deadline", "2s")
    assert (ran.exit, ran.error["code"]) == (6, "start-deadline")
    what, to_do = told(ran)
    assert what == "it was not healthy within the start deadline"
    assert "raise `limits: start_deadline`" in to_do
    assert at_modal.bill()["usd"] == bill_usd
