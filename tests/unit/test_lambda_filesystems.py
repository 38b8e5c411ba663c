"""Lambda's filesystems as volumes: made, found, priced by what they hold, mounted, deleted, and reached over S3."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulators.lambda_cloud import LambdaEmulator
from lambda_account import client_at, filesystem
from scripted_server import RESET, Reply, ScriptedServer, said

from gpu_providers.base import Volume
from gpu_providers.errors import AuthError, CreateUnknown, InvalidRequest, ProviderUnavailable, QuotaExceeded
from gpu_providers.lambda_cloud.filesystems import ACCESS_KEY, SECRET_KEY, VOLUME_PATH, Filesystems, bucket, mounts_of

ID = "398578a2336b49079e74043f0bd2cfe8"
KEYS = {ACCESS_KEY: "access", SECRET_KEY: "very-secret"}
WEIGHTS = Volume("lambda", ID, "weights", 0, "us-east-3", 100.0)
EMPTY = Volume("lambda", ID, "weights", 0, "us-east-3", None)


def listed(*filesystems: dict[str, Any]) -> Reply:
    return said({"data": list(filesystems)})


def refused(status: int, code: str) -> Reply:
    return said({"error": {"code": code, "message": "It cannot be."}}, status)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def filesystems(server: ScriptedServer, tmp_path: Path) -> Filesystems:
    return Filesystems(client_at(server.url, tmp_path))


def test_one_is_made_listed_and_deleted(tmp_path: Path) -> None:
    with LambdaEmulator(engine="none") as cloud:
        environ = cloud.env
        filesystems = Filesystems(client_at(environ["GPU_LAMBDA_API_URL"], tmp_path, environ["LAMBDA_API_KEY"]))
        made = filesystems.create("weights", "us-east-3")
        assert (made.name, made.region) == ("weights", "us-east-3")
        assert filesystems.all() == [made]
        filesystems.delete(made.volume_id)
        assert filesystems.all() == []


def test_all_are_listed_by_name(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(listed(filesystem("2" * 32, "b"), filesystem("1" * 32, "a"), filesystem()))
    assert [volume.name for volume in filesystems.all()] == ["a", "b", "weights"]


def test_a_filesystem_costs_by_what_it_holds(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(listed(filesystem(bytes_used=500 * 2**30)))
    assert filesystems.all() == [WEIGHTS]


@pytest.mark.parametrize("used", [0, -1, None, "some"])
def test_one_that_seems_to_be_empty_has_no_known_price(
    filesystems: Filesystems, server: ScriptedServer, used: object
) -> None:
    server.replies.append(listed(filesystem(bytes_used=used)))
    assert filesystems.all() == [EMPTY]


def test_one_without_its_id_is_no_answer(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(listed(filesystem(id=None)))
    with pytest.raises(ProviderUnavailable, match="without its id"):
        filesystems.all()


@pytest.mark.parametrize("wanted", ["weights", ID], ids=["name", "id"])
def test_one_is_found_by_name_and_by_id(filesystems: Filesystems, server: ScriptedServer, wanted: str) -> None:
    server.replies.append(listed(filesystem("1" * 32, "other"), filesystem()))
    assert filesystems.find(wanted) == WEIGHTS


def test_two_of_a_name_have_to_be_told_apart(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(listed(filesystem("1" * 32), filesystem("2" * 32)))
    with pytest.raises(InvalidRequest, match=f"{'1' * 32}, {'2' * 32}"):
        filesystems.find("weights")


def test_who_names_none_that_is_there_reads_which_are(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(listed(filesystem(name="datasets")))
    with pytest.raises(InvalidRequest, match="no filesystem 'weights'") as error:
        filesystems.find("weights")
    assert error.value.hint == "there are: datasets; make one: gpu volume create weights --provider lambda"


def test_one_is_made_where_it_is_wanted(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies += [listed(), said({"data": filesystem(bytes_used=0)})]
    assert filesystems.create("weights", "US-East-3") == EMPTY
    assert server.asked[-1].body == {"name": "weights", "region": "us-east-3"}


@pytest.mark.parametrize("name", ["", "1weights", "my weights", "gewichte_2", "w" * 61, "weights\n"])
def test_a_name_that_lambda_does_not_take_is_refused_before_it_is_asked(
    filesystems: Filesystems, server: ScriptedServer, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name"):
        filesystems.create(name, "us-east-3")
    assert server.asked == []


def test_a_name_that_is_taken_is_refused(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(listed(filesystem()))
    with pytest.raises(InvalidRequest, match="already"):
        filesystems.create("weights", "us-west-1")
    assert [asked.method for asked in server.asked] == ["GET"]


def test_a_limit_of_the_account_is_told_as_such(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies += [listed(), refused(400, "global/quota-exceeded")]
    with pytest.raises(QuotaExceeded):
        filesystems.create("weights", "us-east-3")


LOST = {"reset": RESET, "server error": refused(500, "global/internal-error"), "web page": Reply(200, "<html></html>")}


@pytest.mark.parametrize("lost", LOST)
def test_a_create_whose_answer_is_lost_is_found_again(
    filesystems: Filesystems, server: ScriptedServer, lost: str
) -> None:
    server.replies += [listed(), LOST[lost], listed(filesystem(bytes_used=0))]
    assert filesystems.create("weights", "us-east-3") == EMPTY
    assert [asked.method for asked in server.asked] == ["GET", "POST", "GET"]


def test_a_create_that_may_not_have_worked_is_told_as_such(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies += [listed(), RESET, listed()]
    with pytest.raises(CreateUnknown):
        filesystems.create("weights", "us-east-3")


def test_one_is_deleted_by_its_id(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(said({"data": {"deleted_ids": [ID]}}))
    filesystems.delete(ID)
    assert (server.asked[0].method, server.asked[0].path) == ("DELETE", f"/filesystems/{ID}")


def test_one_that_is_gone_is_deleted_with_success(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(refused(404, "global/object-does-not-exist"))
    filesystems.delete(ID)


def test_one_that_is_mounted_is_not_deleted(filesystems: Filesystems, server: ScriptedServer) -> None:
    server.replies.append(refused(400, "filesystems/filesystem-in-use"))
    with pytest.raises(ProviderUnavailable):
        filesystems.delete(ID)


def test_every_machine_has_it_at_the_same_path() -> None:
    assert mounts_of(WEIGHTS) == [{"mount_point": VOLUME_PATH, "file_system_id": ID}]
    assert mounts_of(None) == []


def test_a_filesystem_is_a_bucket_in_its_region_named_by_its_uuid() -> None:
    found = bucket(WEIGHTS, KEYS)
    assert (found.endpoint_url, found.region) == ("https://files.us-east-3.lambda.ai", "us-east-3")
    assert found.bucket == "398578a2-336b-4907-9e74-043f0bd2cfe8"
    assert (found.access_key_id.reveal(), found.secret_access_key.reveal()) == ("access", "very-secret")
    assert "very-secret" not in repr(found)


def test_an_id_that_is_no_uuid_is_taken_as_it_is() -> None:
    assert bucket(Volume("lambda", "fs-1", "weights", 0, "us-east-3", None), KEYS).bucket == "fs-1"


def test_the_address_of_s3_can_be_another() -> None:
    environ = {**KEYS, "GPU_LAMBDA_S3_URL": "http://127.0.0.1:9/{region}"}
    elsewhere = Volume("lambda", ID, "weights", 0, "us-west-1", None)
    assert bucket(elsewhere, environ).endpoint_url == "http://127.0.0.1:9/us-west-1"


@pytest.mark.parametrize("region", ["us-west-1", ""])
def test_a_region_without_s3_is_refused_with_those_that_have_it(region: str) -> None:
    with pytest.raises(InvalidRequest, match="no S3 adapter") as error:
        bucket(Volume("lambda", ID, "weights", 0, region, None), KEYS)
    assert "us-east-2" in error.value.hint


@pytest.mark.parametrize("missing", [ACCESS_KEY, SECRET_KEY])
def test_a_key_that_is_not_set_is_asked_for_by_name(missing: str) -> None:
    with pytest.raises(AuthError, match=f"^{missing} is not set"):
        bucket(WEIGHTS, {**KEYS, missing: " "})
