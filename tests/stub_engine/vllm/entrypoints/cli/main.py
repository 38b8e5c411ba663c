"""`vllm serve MODEL ...` of the stand-in: the server of `api_server.py`, open to all unless told otherwise."""

import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from vllm.entrypoints.openai import api_server


def main(given: Sequence[str]) -> None:
    """With vLLM's defaults for what need not be said."""
    if len(given) < 2 or given[0] != "serve" or given[1].startswith("-"):
        sys.exit("usage: vllm serve MODEL [options]: the model is a positional argument")
    model = given[1]
    folder = model if Path(model).is_dir() else snapshot_download(model)
    defaults = ["--served-model-name", model, "--host", "0.0.0.0", "--port", "8000", "--middleware", ""]
    api_server.main(["--model", folder, *defaults, "--disable-access-log-for-endpoints", "", *given[2:]])


if __name__ == "__main__":
    main(sys.argv[1:])
