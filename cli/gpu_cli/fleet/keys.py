"""The API keys of deployments: one private file each, apart from the store, so that no state holds a secret."""

from gpu_cli.state_files import PrivateFiles
from gpu_providers.base import Secret


class Keys(PrivateFiles):
    """Keys by resource name."""

    def create(self, resource_name: str) -> Secret:
        """A new random key, on disk before it is used anywhere. Raises UserError when it cannot be kept."""
        import secrets  # with it comes OpenSSL, for which `gpu ls` has no use

        key = f"sk-gpu-{secrets.token_urlsafe(32)}"
        self._write(resource_name, key)
        return Secret(key)

    def keep(self, resource_name: str, key: Secret) -> None:
        """One that was made elsewhere. Raises UserError as `create`."""
        self._write(resource_name, key.reveal())

    def read(self, resource_name: str) -> Secret | None:
        """The key, or None when this machine does not have it."""
        try:
            return Secret(self.path(resource_name).read_text())
        except FileNotFoundError:
            return None
