"""A model goes into a network volume over S3: all of it, once, and in the layout that huggingface_hub reads."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from botocore.loaders import Loader, create_loader
from emulators.runpod.s3 import ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY, Call, no_fault
from emulators.server import Server
from hub_emulator import COMMIT, HubEmulator, Repository, running_hub
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.progress import Silent
from gpu_cli.weights import bucket as bucket_module
from gpu_cli.weights import hub_files
from gpu_cli.weights.bucket import MAX_PARTS, MIB, PIECE_BYTES, parts_of
from gpu_cli.weights.push import Pushed, Wanted, push, what_to_push
from gpu_providers.base import Bucket, Secret, Volume

MODEL = "acme/tiny"
FOLDER = "huggingface/hub/models--acme--tiny"
SNAPSHOT = f"{FOLDER}/snapshots/{COMMIT}"
WEIGHTS = "model-00001-of-00001.safetensors"
VOLUME = Volume("runpod", "vol1", "weights", 100, "EU-RO-1", 7.0)
PIECE = 100_000
"""Instead of 64 MiB."""

Push = Callable[..., Pushed]


@cache
def loader(path: str | None = None) -> Loader:
    """What boto3 knows of Amazon's services: it takes half of a test to read it."""
    return create_loader(path)


@pytest.fixture(autouse=True)
def small_and_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.session.create_loader", loader)
    monkeypatch.setattr(bucket_module, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(bucket_module, "MIB", 1)
    monkeypatch.setattr(bucket_module, "ATTEMPTS", 1)
    monkeypatch.setattr(hub_files, "PAUSE_S", 0.0)


@pytest.fixture
def hub() -> Iterator[HubEmulator]:
    with running_hub() as hub:
        files = {
            "config.json": b'{"model_type": "llama"}',
            "tokenizer.json": b"{}",
            "empty.txt": b"",
            "pytorch_model.bin": b"a second copy of the weights",
            WEIGHTS: random.Random(0).randbytes(3 * PIECE + 1234),
        }
        hub.repositories[MODEL] = Repository(files)
        yield hub


@pytest.fixture
def s3() -> Iterator[S3]:
    s3 = S3()
    s3.make_bucket(VOLUME.volume_id)
    yield s3
    s3.close()


@pytest.fixture
def bucket(s3: S3) -> Iterator[Bucket]:
    server = Server(lambda request: s3.answer(request, request.path))
    server.start()
    yield Bucket(server.url, "EU-RO-1", VOLUME.volume_id, Secret(ACCESS_KEY_ID), Secret(SECRET_ACCESS_KEY))
    server.stop()


@pytest.fixture
def pushed(hub: HubEmulator, bucket: Bucket) -> Push:
    def run(*, revision: str = "main", volume: Volume = VOLUME, environ: Mapping[str, str] = {}) -> Pushed:
        return push(MODEL, revision, volume, bucket, {**hub.environ, **environ}, Silent())

    return run


def parts_sent(s3: S3) -> list[int | None]:
    return sorted(call.part or 0 for call in s3.calls if call.operation == "UploadPart")


def test_what_an_engine_loads_lies_where_huggingface_hub_looks_for_it(pushed: Push, hub: HubEmulator, s3: S3) -> None:
    result = pushed()
    held = s3.files(VOLUME.volume_id)
    wanted = {name: body for name, body in hub.repositories[MODEL].files.items() if name != "pytorch_model.bin"}
    assert held == {f"{SNAPSHOT}/{name}": body for name, body in wanted.items()} | {
        f"{FOLDER}/refs/main": COMMIT.encode()
    }
    assert (result.commit, result.files) == (COMMIT, 4)
    assert result.sent_bytes == result.total_bytes == sum(map(len, wanted.values()))


def test_the_ref_comes_last_and_the_config_before_it(pushed: Push, s3: S3) -> None:
    pushed()
    written = [call.key for call in s3.calls if call.operation in ("PutObject", "CompleteMultipartUpload")]
    assert written[-2:] == [f"{SNAPSHOT}/config.json", f"{FOLDER}/refs/main"]


def test_large_files_go_up_in_parts(pushed: Push, s3: S3) -> None:
    pushed()
    assert parts_sent(s3) == [1, 2, 3, 4]
    assert s3.uploads(VOLUME.volume_id) == []


def test_nothing_is_asked_that_runpod_does_not_have(pushed: Push, s3: S3) -> None:
    pushed()
    assert "-" not in {call.operation for call in s3.calls}


def test_a_second_push_sends_nothing_but_the_ref(pushed: Push, s3: S3) -> None:
    pushed()
    s3.calls.clear()
    assert pushed().sent_bytes == 0
    assert [call.key for call in s3.calls if call.operation == "PutObject"] == [f"{FOLDER}/refs/main"]


def test_a_file_of_the_wrong_size_is_sent_again(pushed: Push, hub: HubEmulator, s3: S3) -> None:
    weights = hub.repositories[MODEL].files[WEIGHTS]
    hub.repositories[MODEL].files[WEIGHTS] = weights[:-1]
    pushed()
    hub.repositories[MODEL].files[WEIGHTS] = weights
    assert pushed().sent_bytes == len(weights)
    assert s3.files(VOLUME.volume_id)[f"{SNAPSHOT}/{WEIGHTS}"] == weights


def broken_at_part(number: int) -> Callable[[Call], str]:
    return lambda call: "502" if call.part == number else ""


def test_a_push_that_broke_off_goes_on_with_the_parts_that_are_missing(pushed: Push, hub: HubEmulator, s3: S3) -> None:
    s3.fault = broken_at_part(4)
    with pytest.raises(UserError) as failure:
        pushed()
    assert failure.value.exit_status is Exit.LAUNCH_FAILED
    assert f"{FOLDER}/refs/main" not in s3.files(VOLUME.volume_id)
    s3.fault = no_fault
    s3.calls.clear()
    pushed()
    assert parts_sent(s3) == [4]
    assert s3.files(VOLUME.volume_id)[f"{SNAPSHOT}/{WEIGHTS}"] == hub.repositories[MODEL].files[WEIGHTS]


def test_parts_of_another_size_are_not_taken_for_ours(
    pushed: Push, hub: HubEmulator, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.fault = broken_at_part(4)
    with pytest.raises(UserError):
        pushed()
    s3.fault = no_fault
    s3.calls.clear()
    monkeypatch.setattr(bucket_module, "PIECE_BYTES", PIECE + 1)
    pushed()
    assert parts_sent(s3) == [1, 2, 3, 4]
    assert s3.files(VOLUME.volume_id)[f"{SNAPSHOT}/{WEIGHTS}"] == hub.repositories[MODEL].files[WEIGHTS]


def test_uploads_that_cannot_be_continued_are_abandoned(pushed: Push, hub: HubEmulator, s3: S3) -> None:
    s3.fault = broken_at_part(4)
    with pytest.raises(UserError):
        pushed()
    s3.fault = no_fault
    hub.repositories[MODEL].commit = "beef" + "0" * 36
    pushed()
    assert s3.uploads(VOLUME.volume_id) == []


def test_an_upload_that_is_listed_and_gone_is_begun_anew(pushed: Push, hub: HubEmulator, s3: S3) -> None:
    s3.fault = broken_at_part(4)
    with pytest.raises(UserError):
        pushed()
    s3.fault = lambda call: "404" if call.operation in ("ListParts", "AbortMultipartUpload") else ""
    s3.calls.clear()
    pushed()
    assert parts_sent(s3) == [1, 2, 3, 4]
    assert s3.files(VOLUME.volume_id)[f"{SNAPSHOT}/{WEIGHTS}"] == hub.repositories[MODEL].files[WEIGHTS]


def test_a_gated_model_is_a_matter_of_credentials(pushed: Push, hub: HubEmulator) -> None:
    hub.repositories[MODEL].gated = True
    with pytest.raises(UserError) as failure:
        pushed()
    assert (failure.value.exit_status, failure.value.code) == (Exit.CREDENTIALS, "gated")


def test_uploads_of_other_models_are_left_alone(pushed: Push, hub: HubEmulator, s3: S3, bucket: Bucket) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=bucket.endpoint_url,
        region_name="EU-RO-1",
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
    )
    client.create_multipart_upload(Bucket=VOLUME.volume_id, Key="huggingface/hub/models--acme--other/x")
    pushed()
    assert s3.uploads(VOLUME.volume_id) == ["huggingface/hub/models--acme--other/x"]


def test_a_lost_answer_to_the_last_step_is_no_failure_when_the_file_is_there(pushed: Push, s3: S3) -> None:
    s3.fault = lambda call: "lost" if call.operation == "CompleteMultipartUpload" else ""
    pushed()
    assert f"{FOLDER}/refs/main" in s3.files(VOLUME.volume_id)


def test_a_last_step_that_did_not_work_is_a_failure(pushed: Push, s3: S3) -> None:
    s3.fault = lambda call: "502" if call.operation == "CompleteMultipartUpload" else ""
    with pytest.raises(UserError, match="did not take a file"):
        pushed()
    assert f"{FOLDER}/refs/main" not in s3.files(VOLUME.volume_id)


def test_what_this_machine_has_is_not_downloaded(pushed: Push, hub: HubEmulator, s3: S3, tmp_path: Path) -> None:
    files = hub.repositories[MODEL].files
    kept = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / COMMIT
    kept.mkdir(parents=True)
    (kept / WEIGHTS).write_bytes(files[WEIGHTS])
    (kept / "tokenizer.json").write_bytes(b"another size")
    (kept / "config.json").mkdir()
    pushed(environ={"HF_HOME": str(tmp_path)})
    assert WEIGHTS not in hub.files_asked
    assert "tokenizer.json" in hub.files_asked
    assert s3.files(VOLUME.volume_id)[f"{SNAPSHOT}/{WEIGHTS}"] == files[WEIGHTS]


def test_a_download_that_breaks_off_goes_on_where_it_was(pushed: Push, hub: HubEmulator, s3: S3) -> None:
    hub.breaks_off_after = PIECE // 2 + 1
    pushed()
    assert s3.files(VOLUME.volume_id)[f"{SNAPSHOT}/{WEIGHTS}"] == hub.repositories[MODEL].files[WEIGHTS]
    ranges = {request.range for request in hub.requests if request.path.endswith(WEIGHTS)}
    assert f"bytes={PIECE // 2 + 1}-{PIECE - 1}" in ranges


def test_a_hub_that_sends_whole_files_only_is_not_believed(pushed: Push, hub: HubEmulator) -> None:
    hub.honours_ranges = False
    with pytest.raises(UserError, match="does not give parts"):
        pushed()


def test_a_volume_that_is_too_small_is_refused_before_anything_is_sent(
    pushed: Push, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_cli.weights.push.GB", PIECE)
    with pytest.raises(UserError) as failure:
        pushed(volume=replace(VOLUME, size_gb=3))
    assert (failure.value.exit_status, failure.value.code) == (Exit.BAD_INPUT, "does-not-fit")
    assert s3.calls == []


def test_a_volume_that_grows_by_itself_is_never_too_small(pushed: Push) -> None:
    assert pushed(volume=replace(VOLUME, size_gb=0)).files > 0


def test_another_key_is_refused_as_a_matter_of_credentials(hub: HubEmulator, bucket: Bucket) -> None:
    other = replace(bucket, access_key_id=Secret("user_other"))
    with pytest.raises(UserError) as failure:
        push(MODEL, "main", VOLUME, other, hub.environ, Silent())
    assert failure.value.exit_status is Exit.CREDENTIALS
    assert SECRET_ACCESS_KEY not in failure.value.message


def test_a_wrong_clock_is_told_as_such(pushed: Push, s3: S3) -> None:
    s3.fault = lambda call: "403 RequestTimeTooSkewed" if call.operation == "PutObject" else ""
    with pytest.raises(UserError, match="clock is wrong") as failure:
        pushed()
    assert failure.value.code == "clock-skew"


def test_what_the_user_has_of_amazon_does_not_matter(
    pushed: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile other]\ns3 =\n  use_accelerate_endpoint = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for profile in ("other", "missing"):
        monkeypatch.setenv("AWS_PROFILE", profile)
        pushed()


def test_an_address_that_does_not_answer_is_told_as_such(hub: HubEmulator, bucket: Bucket) -> None:
    nowhere = replace(bucket, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(UserError) as failure:
        push(MODEL, "main", VOLUME, nowhere, hub.environ, Silent())
    assert (failure.value.exit_status, failure.value.code) == (Exit.LAUNCH_FAILED, "volume-unreachable")


def test_a_model_that_there_is_not_is_told_as_such(hub: HubEmulator, bucket: Bucket) -> None:
    with pytest.raises(UserError) as failure:
        push("acme/none", "main", VOLUME, bucket, hub.environ, Silent())
    assert failure.value.code == "no-such-model"


def test_a_hub_that_does_not_answer_is_told_as_such(bucket: Bucket) -> None:
    with pytest.raises(UserError) as failure:
        push(MODEL, "main", VOLUME, bucket, {"HF_ENDPOINT": "http://127.0.0.1:9"}, Silent())
    assert (failure.value.exit_status, failure.value.code) == (Exit.LAUNCH_FAILED, "hub-unreachable")


def test_file_names_that_lead_out_of_the_folder_are_refused(pushed: Push, hub: HubEmulator, s3: S3) -> None:
    hub.repositories[MODEL].files["../../evil.safetensors"] = b"x"
    with pytest.raises(UserError):
        pushed()
    assert s3.calls == []


def test_a_commit_gets_no_ref(pushed: Push, s3: S3) -> None:
    pushed(revision=COMMIT)
    assert not any("/refs/" in key for key in s3.files(VOLUME.volume_id))


def test_a_recipe_stands_for_the_model_that_it_loads() -> None:
    assert what_to_push("acme/tiny", None, {}) == Wanted("acme/tiny", "main")
    assert what_to_push("acme/tiny", "v2", {}) == Wanted("acme/tiny", "v2")
    assert what_to_push("llama-3.1-8b", None, {}).model == "meta-llama/Llama-3.1-8B-Instruct"


def test_a_model_from_elsewhere_cannot_be_pushed() -> None:
    with pytest.raises(UserError, match="not on Hugging Face"):
        what_to_push("modelscope://acme/tiny", None, {})


@given(st.integers(min_value=1, max_value=4 * 10**12))
def test_parts_cover_a_file_within_the_limits(size: int) -> None:
    parts = parts_of(size)
    assert len(parts) <= MAX_PARTS
    assert max(part.size for part in parts) <= 500_000_000
    assert sum(part.size for part in parts) == size
    assert [part.offset for part in parts] == [sum(p.size for p in parts[:n]) for n in range(min(3, len(parts)))] + [
        part.offset for part in parts[3:]
    ]


def test_files_of_up_to_64_mib_go_up_at_once() -> None:
    assert (PIECE_BYTES, MIB) == (64 * 2**20, 2**20)
