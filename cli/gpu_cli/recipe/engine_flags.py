"""What a recipe may pass to vLLM itself: everything but what the program sets, and no secrets."""

import re

_FIELDS = {
    "--model": "`model`",
    "--revision": "`revision`",
    "--quantization": "`quantization`",
    "-q": "`quantization`",
    "--max-model-len": "`context`",
    "--max-num-seqs": "`concurrency`",
    "--served-model-name": "`served_name`",
    "--tool-call-parser": "`tool_call_parser`",
    "--reasoning-parser": "`reasoning_parser`",
    "--chat-template": "`chat_template`",
    "--hf-token": "HF_TOKEN in the environment of `gpu`",
}
_OURS = (
    "--host",
    "--port",
    "--uds",
    "--api-key",
    "--middleware",
    "--ssl-keyfile",
    "--ssl-certfile",
    "--disable-log-stats",
)
_OUR_VARIABLES = ("PYTHONPATH",)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r".*(PASSWORD|(^|_)(KEY|TOKEN|SECRET))", re.IGNORECASE)


def check_engine_arg(arg: str) -> str:
    """The argument, unchanged. Raises ValueError for one that the program sets itself, or two written as one."""
    if not arg.startswith("-"):
        return arg
    flag = arg.partition("=")[0]
    if re.search(r"\s", flag):
        raise ValueError(f"{arg!r} is two arguments in one; write two items, or --flag=value")
    for own in (*_FIELDS, *_OURS):
        if _means(flag, own):
            instead = f"use {_FIELDS[own]}" if own in _FIELDS else "gpu sets it itself"
            raise ValueError(f"{flag} does not belong here; {instead}")
    return arg


def check_engine_variable(name: str) -> str:
    """The name, unchanged. Raises ValueError for one that cannot be a variable's, tells of a secret, or is ours."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError("is no name of an environment variable")
    if _SECRET.fullmatch(name):
        raise ValueError("looks like a secret, and a recipe is no place for one; set it in the environment")
    if name in _OUR_VARIABLES:
        raise ValueError("is set by gpu itself")
    return name


def _means(flag: str, own: str) -> bool:
    """vLLM takes `_` for `-`, any unambiguous beginning of a long flag, and a short flag's value joined to it."""
    if own.startswith("--"):
        return flag.startswith("--") and own.startswith(flag.replace("_", "-"))
    return not flag.startswith("--") and flag.startswith(own)
