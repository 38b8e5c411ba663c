"""The key with which this side logs in to machines: one of ours for each account, or the user's own."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from gpu_providers.errors import CreateUnknown, InvalidRequest, ProviderUnavailable
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.values import Json, text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import SSHPrivateKeyTypes, SSHPublicKeyTypes

FILE = "id_ed25519"
_UNATTENDED = "give a private key without a passphrase, or leave `ssh_key` out: one is made for this account then"
_OTHERS_CAN_READ = 0o077


@dataclass(frozen=True)
class SshKey:
    """A key pair, by the file of its private half."""

    path: Path

    @cached_property
    def public(self) -> str:
        """Its public half in one line, `ssh-ed25519 AAAA…`.

        Raises InvalidRequest for a file that is no private key, or one that ssh would not use with nobody there.
        """
        try:
            if self.path.stat().st_mode & _OTHERS_CAN_READ:
                raise InvalidRequest(f"others can read {self.path}, so ssh refuses it", hint=f"chmod 600 {self.path}")
            return public_text(_private(self.path.read_bytes()).public_key())
        except OSError as error:
            raise InvalidRequest(f"{self.path} cannot be read: {error.strerror}", hint=_UNATTENDED) from None

    @property
    def name(self) -> str:
        """That by which we register it, as it is the same wherever and whenever that happens."""
        return f"gpu-cli-{sha256(self.public.encode()).hexdigest()[:16]}"


def own_key(folder: Path) -> SshKey:
    """The key of ours that is kept in this folder, made where there is none. Only this user can read it.

    Of two that make one at once, the first wins.
    """
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(path)
    return SshKey(path)


def registered_name(keys: Iterable[Json], key: SshKey) -> str:
    """Its name among the keys of an account, whoever registered it; empty where it is none of them."""
    public = key.public
    return next((text(one, "name") for one in keys if _stripped(text(one, "public_key")) == public), "")


def register(client: LambdaClient, key: SshKey) -> str:
    """The name by which a launch can name it; it is registered unless it is.

    Raises InvalidRequest when another key has our name for it.
    """
    if name := registered_name(client.ssh_keys(), key):
        return name
    try:
        client.add_ssh_key(key.name, key.public)
    except (CreateUnknown, InvalidRequest) as error:  # somebody may have been faster
        if name := registered_name(client.ssh_keys(), key):
            return name
        if isinstance(error, CreateUnknown):  # no instance was asked for
            raise ProviderUnavailable(error.message, hint="try again later") from None
        raise
    return key.name


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    with NamedTemporaryFile("w", dir=path.parent) as file:  # nobody else can read it
        file.write(private_text(Ed25519PrivateKey.generate()))
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, path)


def _private(file: bytes) -> "SSHPrivateKeyTypes":
    """Raises InvalidRequest for what no client could use with nobody there: a key with a passphrase, for one."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if b"BEGIN OPENSSH" in file else load_pem_private_key
    try:
        key = load(file, None)
    except TypeError:
        raise InvalidRequest("the private key that `ssh_key` names has a passphrase", hint=_UNATTENDED) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise InvalidRequest("what `ssh_key` names is no private key of ssh that can be used", hint=_UNATTENDED)
    return key


def _stripped(public_key: str) -> str:
    """Without what is only for people."""
    return " ".join(public_key.split()[:2])


def private_text(key: "Ed25519PrivateKey") -> str:
    """In OpenSSH's format."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def public_text(key: "SSHPublicKeyTypes") -> str:
    """In OpenSSH's format, without a comment."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
