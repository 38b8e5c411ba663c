"""What cloud-init does on a new machine, before anybody can log in. All else is done over SSH."""

from dataclasses import dataclass
from textwrap import indent

from gpu_providers.base import Secret

_TEMPLATE = """\
#cloud-config
ssh_keys:
  ed25519_private: |
{private}
  ed25519_public: {public}
write_files:
- path: /etc/apt/apt.conf.d/99-gpu-cli
  content: |
    APT::Periodic::Enable "0";
"""
"""The host key replaces those of the image (cloud-init's module cc_ssh). Automatic upgrades would hold dpkg's lock just
after the boot, and make systemd reload, after which containers lose the GPU (NVIDIA/nvidia-container-toolkit#48)."""


@dataclass(frozen=True)
class HostKey:
    """The key pair of one machine's SSH server."""

    private: Secret
    """In OpenSSH's format."""
    public: str
    """One line, `ssh-ed25519 AAAA…`."""


def new_host_key() -> HostKey:
    """A pair that nobody else has."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gpu_providers.lambda_cloud.ssh_keys import private_text, public_text

    key = Ed25519PrivateKey.generate()
    return HostKey(Secret(private_text(key)), public_text(key.public_key()))


def user_data(host_key: HostKey) -> str:
    """The `user_data` of a launch, which Lambda never shows again."""
    return _TEMPLATE.format(private=indent(host_key.private.reveal().strip(), "    "), public=host_key.public)
