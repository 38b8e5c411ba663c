"""The host key of an emulated machine's SSH server: the private half, in OpenSSH's form."""

from typing import Any

import yaml

CLOUD_CONFIG = "#cloud-config"


def planted(user_data: str) -> str:
    """The one that the user data bring along, or nothing: what cloud-init cannot read counts for nothing."""
    try:
        config: Any = yaml.safe_load(user_data) if user_data.startswith(CLOUD_CONFIG) else None
        return str(config["ssh_keys"]["ed25519_private"])
    except (yaml.YAMLError, TypeError, KeyError):
        return ""


def new() -> str:
    """One that nobody knows."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()
