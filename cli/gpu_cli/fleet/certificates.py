"""The certificates of deployments that are reached over TLS: made here, for one deployment each, and pinned.

Nobody signs for a bare port on a rented machine. So each engine is given a certificate of its own, and this side talks
to whoever proves to hold the private key of exactly that one.
"""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gpu_cli.state_files import PrivateFiles
from gpu_providers.base import Secret

VALID_BEFORE = timedelta(days=1)
"""A user's clock may be behind."""
VALID_AFTER = timedelta(days=30)
"""Beyond the time given: an end that is late must not be an endpoint that is lost."""

_END = "-----END CERTIFICATE-----"


class Certificates(PrivateFiles):
    """Certificates by resource name, as PEM; the private keys are not among them."""

    def create(self, resource_name: str, valid_until: float) -> Secret:
        """A new certificate with its private key, as PEM, for the node; only the certificate is kept on this side.

        `valid_until` is in seconds since the epoch, and not the last moment. Raises UserError when it cannot be kept.
        """
        certificate, private_key = _self_signed(resource_name, datetime.fromtimestamp(valid_until, UTC))
        self._write(resource_name, certificate)
        return Secret(certificate + private_key)

    def keep(self, resource_name: str, made: Secret) -> None:
        """One that was made elsewhere, as it was sent to the node. Raises UserError as `create`."""
        certificate, end, _ = made.reveal().partition(_END)
        if end:
            self._write(resource_name, f"{certificate}{end}\n")


def _self_signed(common_name: str, valid_until: datetime) -> tuple[str, str]:
    """A certificate and its private key, both PEM: EC P-256, which fits into the environment of a container."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - VALID_BEFORE)
        .not_valid_after(valid_until + VALID_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private_key.decode()


def pinned_context(path: Path) -> ssl.SSLContext:
    """For clients of whoever holds the private key of the certificate at `path`, and of nobody else.

    A handshake with any other certificate raises `ssl.SSLCertVerificationError`, before a byte of the client's is sent.
    """
    pem = path.read_text()
    context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.pinned = ssl.PEM_cert_to_DER_cert(pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # the certificate is known itself: the address that it is found at says nothing
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=pem)
    return context


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check_pin(self)


class _PinnedObject(ssl.SSLObject):
    """What asyncio makes of a context."""

    def do_handshake(self) -> None:
        super().do_handshake()
        _check_pin(self)


class _PinnedContext(ssl.SSLContext):
    sslsocket_class = _PinnedSocket
    sslobject_class = _PinnedObject
    pinned: bytes
    """The certificate, in DER."""


def _check_pin(connection: _PinnedSocket | _PinnedObject) -> None:
    """With one trust anchor that may not sign others, OpenSSL accepts no other; this does not rely on it."""
    context = connection.context
    if not isinstance(context, _PinnedContext) or connection.getpeercert(binary_form=True) != context.pinned:
        raise ssl.SSLCertVerificationError("another certificate than the one that is pinned")
