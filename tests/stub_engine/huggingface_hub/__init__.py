"""A stand-in for huggingface_hub, for tests: asks the hub at HF_ENDPOINT with HF_TOKEN, and has its errors.

Without HF_ENDPOINT it is a hub that has every model: configuration and tokenizer, and weights of no size.
"""

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = {"config.json": '{"architectures": ["LlamaForCausalLM"]}', "tokenizer.json": "{}", "model.safetensors": ""}
COMMIT = "c0ffee" + "0" * 34


class GatedRepoError(Exception):
    """The hub refused this account."""


class RepositoryNotFoundError(Exception):
    """The hub knows no such model."""


@dataclass(frozen=True)
class RepoSibling:
    """One file of a model."""

    rfilename: str
    size: int


@dataclass(frozen=True)
class ModelInfo:
    """What a model has."""

    siblings: list[RepoSibling]


class HfApi:
    """The one question that is asked."""

    def model_info(self, model: str, *, timeout: float, **_options: Any) -> ModelInfo:
        """Asks the hub at HF_ENDPOINT, and fails: no test gets weights from it."""
        if "HF_ENDPOINT" not in os.environ:
            return ModelInfo([RepoSibling(name, len(text)) for name, text in FILES.items()])
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

    HF_HUB_CACHE = str(Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub")


def snapshot_download(model: str, *, revision: str | None = None, **_options: Any) -> str:
    """The folder of a model; with HF_ENDPOINT, nothing is in the hub's cache."""
    if "HF_ENDPOINT" in os.environ:
        raise RepositoryNotFoundError("not in the cache")
    repository = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
    folder = repository / "snapshots" / COMMIT
    for path, text in {repository / "refs" / (revision or "main"): COMMIT, **in_folder(folder)}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def in_folder(folder: Path) -> dict[Path, str]:
    """A model's files, with their paths there."""
    return {folder / name: text for name, text in FILES.items()}
