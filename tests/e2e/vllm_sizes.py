"""Run by the real engine's Python: the KV cache that it gives each model, as it prints and records it.

An engine is stopped when it has its sizes, before it takes any memory for the cache.
"""

import json
import os

from vllm.engine.arg_utils import EngineArgs
from vllm.v1.engine.core import EngineCore
from vllm.v1.executor import Executor
from vllm.v1.executor.uniproc_executor import UniProcExecutor


class Sized(Exception):
    """The engine has its sizes."""


def stop(*_: object) -> None:
    raise Sized


def answer(arguments: dict) -> dict:
    """Of an engine with these arguments, in a process of its own, since one holds one engine; being forked, it has vLLM
    imported already.
    """
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(sizes(arguments)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.wait()
    return json.loads(answer) if answer else {}


def sizes(arguments: dict) -> dict:
    UniProcExecutor.initialize_from_config = stop
    config = EngineArgs(
        load_format="dummy", skip_tokenizer_init=True, enforce_eager=True, **arguments
    ).create_engine_config()
    try:
        EngineCore(config, Executor.get_class(config), log_stats=False)
    except Sized:
        cache = config.cache_config
        return {
            "block_size": cache.block_size,
            "blocks": cache.num_gpu_blocks,
            "tokens": cache.kv_cache_size_tokens,
            "max_concurrency": cache.kv_cache_max_concurrency,
        }
    raise AssertionError("the engine did not get to its sizes")
