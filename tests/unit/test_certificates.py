import socket
import ssl
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from fleets import Cloud, deployment, make_fleet
from tls_engine import server_context

from gpu_cli.errors import UserError
from gpu_cli.fleet.certificates import Certificates, pinned_context
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.collect import forget_keys
from gpu_cli.fleet.end.teardown import finish
from gpu_providers.base import Secret

NAME = "gpu-tiny-1"
UNTIL = (datetime.now(UTC) + timedelta(hours=1)).timestamp()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "state" / "certificates")


def issued(name: str, issuer: str, signed_with: ec.EllipticCurvePrivateKey) -> Secret:
    """A certificate of somebody else's, with its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(signed_with, hashes.SHA256())
    )
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Secret((certificate.public_bytes(Encoding.PEM) + private_key).decode())


def shake_hands(pinned: Path, server: ssl.SSLContext) -> str | None:
    """The TLS version that a client of the pinned one and this server agree on. Raises what the client meets."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as connection:
                connection.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pinned_context(pinned).wrap_socket(ours) as connection:
            return connection.version()
    finally:
        ours.close()
        thread.join()


def test_the_certificate_is_kept_in_a_private_file_and_the_private_key_nowhere(
    tmp_path: Path, certificates: Certificates
) -> None:
    made = certificates.create(NAME, UNTIL)
    path = certificates.path(NAME)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    kept = [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(kept) == 1
    assert "PRIVATE KEY" not in kept[0]
    assert made.reveal().startswith(kept[0])
    assert made.reveal().count("BEGIN PRIVATE KEY") == 1
    assert "PRIVATE KEY" not in f"{made} {made!r}"


def test_it_is_for_one_deployment_may_sign_nothing_and_outlives_the_time_given(certificates: Certificates) -> None:
    certificates.create(NAME, UNTIL)
    made = x509.load_pem_x509_certificate(certificates.path(NAME).read_bytes())
    assert made.subject.rfc4514_string() == f"CN={NAME}"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.not_valid_before_utc < datetime.now(UTC) - timedelta(hours=12)
    assert made.not_valid_after_utc > datetime.fromtimestamp(UNTIL, UTC) + timedelta(days=1)


def test_no_two_have_the_same_key(certificates: Certificates) -> None:
    assert certificates.create(NAME, UNTIL) != certificates.create(NAME, UNTIL)


def test_one_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Certificates(tmp_path / "file").create(NAME, UNTIL)


def test_a_client_talks_to_whoever_holds_the_pinned_one(certificates: Certificates) -> None:
    server = server_context(certificates.create(NAME, UNTIL))
    assert shake_hands(certificates.path(NAME), server) == "TLSv1.3"


def test_the_certificate_of_another_deployment_is_refused(certificates: Certificates) -> None:
    certificates.create(NAME, UNTIL)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates.path(NAME), server_context(certificates.create("gpu-other-1", UNTIL)))


def test_another_certificate_of_the_same_name_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    certificates.create(NAME, UNTIL)
    copied = Certificates(tmp_path / "theirs").create(NAME, UNTIL)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates.path(NAME), server_context(copied))


def test_even_one_that_the_pinned_key_has_signed_is_refused(certificates: Certificates) -> None:
    key = load_pem_private_key(certificates.create(NAME, UNTIL).reveal().encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates.path(NAME), server_context(issued("localhost", NAME, key)))


def test_one_that_is_trusted_and_not_the_pinned_one_is_refused_by_the_pin_alone(
    certificates: Certificates, tmp_path: Path
) -> None:
    certificates.create(NAME, UNTIL)
    pinned = pinned_context(certificates.path(NAME))
    other = Certificates(tmp_path / "theirs")
    server = server_context(other.create("gpu-other-1", UNTIL))
    pinned.load_verify_locations(other.path("gpu-other-1"))
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: _handshake_quietly(server, theirs))
    thread.start()
    with closing(ours), pytest.raises(ssl.SSLCertVerificationError, match="pinned"):
        pinned.wrap_socket(ours)
    thread.join()


def _handshake_quietly(server: ssl.SSLContext, theirs: socket.socket) -> None:
    try:
        server.wrap_socket(theirs, server_side=True).close()
    except OSError:
        theirs.close()


def test_a_server_without_a_modern_tls_is_refused(certificates: Certificates) -> None:
    server = server_context(certificates.create(NAME, UNTIL))
    server.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(certificates.path(NAME), server)


def test_what_is_gone_leaves_no_certificate(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, Cloud())
    with closing(fleet.store):
        fleet.store.add(deployment(state=State.TERMINATING))
        for name in (NAME, "gpu-unknown-1"):
            fleet.certificates.create(name, UNTIL)
        finish(fleet, fleet.store.get(NAME))
        assert not fleet.certificates.path(NAME).exists()
        assert fleet.certificates.path("gpu-unknown-1").exists()
        forget_keys(fleet)
        assert not fleet.certificates.path("gpu-unknown-1").exists()
