"""The SSH key that machines at Lambda know this side by: how it is made, kept, and registered."""

import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from emulators.lambda_cloud import LambdaEmulator
from lambda_account import client_at
from scripted_server import RESET, ScriptedServer, said

from gpu_providers.errors import InvalidRequest, ProviderUnavailable
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.ssh_keys import SshKey, own_key, register


@pytest.fixture
def cloud() -> Iterator[LambdaEmulator]:
    with LambdaEmulator() as emulator:
        yield emulator


@pytest.fixture
def client(cloud: LambdaEmulator, tmp_path: Path) -> LambdaClient:
    return client_at(cloud.env["GPU_LAMBDA_API_URL"], tmp_path / "pace", cloud.key)


@pytest.fixture
def key(tmp_path: Path) -> SshKey:
    return own_key(tmp_path / "account")


def keygen(file: Path, *arguments: str) -> SshKey:
    """Made as users make theirs."""
    subprocess.run(["ssh-keygen", "-q", "-f", file, *(arguments or ("-t", "ed25519", "-N", ""))], check=True)
    return SshKey(file)


def test_our_key_is_one_that_openssh_reads_and_nobody_else(key: SshKey) -> None:
    derived = subprocess.run(["ssh-keygen", "-y", "-f", key.path], capture_output=True, text=True, check=True)
    assert derived.stdout.split() == key.public.split()
    assert stat.S_IMODE(key.path.stat().st_mode) == 0o600


def test_our_key_stays_the_same_whoever_makes_it_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: own_key(tmp_path / "account").public, range(8)))
    assert len(set(made)) == 1
    assert [path.name for path in (tmp_path / "account").iterdir()] == ["id_ed25519"]


def test_a_key_is_registered_once_under_a_name_from_its_hash(key: SshKey, client: LambdaClient) -> None:
    name = f"gpu-cli-{sha256(key.public.encode()).hexdigest()[:16]}"
    assert [register(client, key), register(client, key)] == [name, name]
    assert [(known["name"], known["public_key"]) for known in client.ssh_keys()] == [(name, key.public)]


def test_a_key_that_the_user_has_registered_is_used_by_that_name(key: SshKey, client: LambdaClient) -> None:
    client.add_ssh_key("laptop", f"{key.public} me@laptop")
    assert register(client, key) == "laptop"
    assert len(client.ssh_keys()) == 1


def test_another_key_under_our_name_is_an_error(key: SshKey, client: LambdaClient, tmp_path: Path) -> None:
    client.add_ssh_key(key.name, own_key(tmp_path / "other").public)
    with pytest.raises(InvalidRequest, match="unique"):
        register(client, key)


def test_a_key_whose_registration_got_lost_on_the_way_back_is_found(key: SshKey, tmp_path: Path) -> None:
    listed = said({"data": [{"id": "1", "name": key.name, "public_key": key.public}]})
    with ScriptedServer(said({"data": []}), RESET, listed) as server:
        assert register(client_at(server.url, tmp_path), key) == key.name


def test_a_key_that_may_not_be_registered_is_no_instance_that_may_exist(key: SshKey, tmp_path: Path) -> None:
    with (
        ScriptedServer(said({"data": []}), RESET, said({"data": []})) as server,
        pytest.raises(ProviderUnavailable),
    ):
        register(client_at(server.url, tmp_path), key)


@pytest.mark.parametrize("kind", [("-t", "ed25519"), ("-t", "ecdsa"), ("-t", "rsa", "-b", "2048", "-m", "PEM")])
def test_a_users_own_key_needs_no_public_file(kind: tuple[str, ...], tmp_path: Path) -> None:
    key = keygen(tmp_path / "mine", *kind, "-N", "")
    public = tmp_path / "mine.pub"
    expected = public.read_text().split()[:2]
    public.unlink()
    assert key.public.split() == expected


@pytest.mark.parametrize("form", [(), ("-m", "PEM")])
def test_a_key_with_a_passphrase_cannot_log_in_with_nobody_there(form: tuple[str, ...], tmp_path: Path) -> None:
    key = keygen(tmp_path / "mine", "-t", "ecdsa", "-N", "open sesame", *form)
    with pytest.raises(InvalidRequest, match="passphrase") as refused:
        _ = key.public
    assert "ssh_key" in refused.value.hint


def test_a_key_that_others_can_read_is_refused_before_ssh_does(tmp_path: Path) -> None:
    key = keygen(tmp_path / "mine")
    key.path.chmod(0o644)
    with pytest.raises(InvalidRequest) as refused:
        _ = key.public
    assert refused.value.hint == f"chmod 600 {key.path}"


@pytest.mark.parametrize("content", [b"", b"ssh-ed25519 AAAA me", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_private_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidRequest, match="no private key"):
        _ = SshKey(path).public


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=str(tmp_path / "nowhere")):
        _ = SshKey(tmp_path / "nowhere").public
