"""The user's API key of a cloud, wherever it was found."""

from hashlib import sha256

from gpu_providers.base import Secret
from gpu_providers.errors import AuthError, NoCredentials


def as_key(found: str, cloud: str, *, hint: str) -> Secret:
    """Raises NoCredentials when there is none, AuthError when it cannot be one: it has to fit into a header."""
    if not found:
        raise NoCredentials(f"there is no API key for {cloud}", hint=hint)
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise AuthError(f"the API key for {cloud} holds characters that no key has", hint=hint)
    return Secret(found)


def fingerprint(key: Secret) -> str:
    """Tells the account of this key from others, as far as each has one key; nothing of the key can be read from it."""
    return sha256(key.reveal().encode()).hexdigest()[:12]
