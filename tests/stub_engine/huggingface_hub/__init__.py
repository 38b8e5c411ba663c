"""A stand-in for huggingface_hub, for tests: asks the hub at HF_ENDPOINT with HF_TOKEN, and has its errors."""

import os
import urllib.error
import urllib.request
from typing import Any, NoReturn


class GatedRepoError(Exception):
    """The hub refused this account."""


class RepositoryNotFoundError(Exception):
    """The hub knows no such model."""


class HfApi:
    """The one question that is asked."""

    def model_info(self, model: str, *, timeout: float, **_options: Any) -> NoReturn:
        """Asks, and fails: no test gets weights from a hub."""
        headers = {"Authorization": f"Bearer {os.environ['HF_TOKEN']}"} if "HF_TOKEN" in os.environ else {}
        request = urllib.request.Request(f"{os.environ['HF_ENDPOINT']}/api/models/{model}", headers=headers)
        try:
            urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise GatedRepoError(f"Access to model {model} is restricted") from None
            raise RepositoryNotFoundError(f"{error.code} for {model}") from None
        raise RepositoryNotFoundError(f"{model} has no files")


class constants:  # noqa: N801 - a module in the real one
    """Where the hub's cache is."""

    HF_HUB_CACHE = "/nowhere"


def snapshot_download(*_arguments: Any, **_options: Any) -> NoReturn:
    """Nothing is in the hub's cache."""
    raise RepositoryNotFoundError("not in the cache")
