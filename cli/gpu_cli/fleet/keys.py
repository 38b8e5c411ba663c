"""The API keys of deployments: one private file each, apart from the store, so that no state holds a secret."""

import os
from collections.abc import Collection
from pathlib import Path

from gpu_cli.state_files import kept_in
from gpu_providers.base import Secret


class Keys:
    """Keys by resource name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, resource_name: str) -> Secret:
        """A new random key, on disk (0600) before it is used anywhere. Raises UserError when it cannot be kept."""
        import secrets  # with it comes OpenSSL, for which `gpu ls` has no use

        key = f"sk-gpu-{secrets.token_urlsafe(32)}"
        path = self._folder / resource_name
        with kept_in(path):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(key)
        return Secret(key)

    def read(self, resource_name: str) -> Secret | None:
        """The key, or None when this machine does not have it."""
        try:
            return Secret((self._folder / resource_name).read_text())
        except FileNotFoundError:
            return None

    def forget_all_but(self, resource_names: Collection[str]) -> None:
        """Remove the keys of all others."""
        if self._folder.is_dir():
            for file in self._folder.iterdir():
                if file.name not in resource_names:
                    file.unlink(missing_ok=True)

    def forget(self, resource_name: str) -> None:
        """Remove it, once its deployment is gone."""
        (self._folder / resource_name).unlink(missing_ok=True)
