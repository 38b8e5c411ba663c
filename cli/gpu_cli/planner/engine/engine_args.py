"""The command line of the engine for a recipe."""

from collections.abc import Sequence

from gpu_cli.recipe.schema import Recipe

GUARD_MIDDLEWARE = "guard_middleware.GuardMiddleware"
_POLLED_ROUTES = "/health,/metrics,/v1/models,/_gpu/supervisor"


def engine_args(
    recipe: Recipe, *, model: str, host: str, port: int, gpu_count: int, sized: Sequence[str] | None = None
) -> tuple[str, ...]:
    """vLLM's arguments. `model` is what the node loads: a path there, or a hub id. Never holds a key.

    `sized` are the flags that the planner chose for memory and parallelism (`Configuration.flags`); None where nothing
    was sized: then the recipe's context and concurrency go to the engine as they are.
    """
    args = ["--model", model, "--served-model-name", recipe.served_name, "--host", host, "--port", str(port)]
    args += ["--middleware", GUARD_MIDDLEWARE, "--disable-access-log-for-endpoints", _POLLED_ROUTES]
    return (*args, *_model_flags(recipe, gpu_count, sized))


def model_args(recipe: Recipe, *, gpu_count: int, sized: Sequence[str] | None = None) -> tuple[str, ...]:
    """Those of `engine_args` that say how the model is served, without where: for `vllm serve MODEL` in an image."""
    return ("--served-model-name", recipe.served_name, *_model_flags(recipe, gpu_count, sized))


def deciding_args(recipe: Recipe, *, gpu_count: int, sized: Sequence[str] | None = None) -> tuple[str, ...]:
    """Those that decide how fast it is, beside the quantization, and its environment as NAME=VALUE: two deployments of
    a model that differ in names, parsers or templates only have the same.
    """
    flags = _unsized(recipe, gpu_count) if sized is None else sized
    return (*flags, *recipe.engine.args, *(f"{name}={value}" for name, value in sorted(recipe.engine.env.items())))


def _model_flags(recipe: Recipe, gpu_count: int, sized: Sequence[str] | None) -> tuple[str, ...]:
    args = [*(_unsized(recipe, gpu_count) if sized is None else sized)]
    if recipe.quantization:
        args += ["--quantization", recipe.quantization]
    if recipe.tool_call_parser:
        args += ["--enable-auto-tool-choice", "--tool-call-parser", recipe.tool_call_parser]
    if recipe.reasoning_parser:
        args += ["--reasoning-parser", recipe.reasoning_parser]
    if recipe.chat_template:
        args += ["--chat-template", recipe.chat_template]
    return (*args, *recipe.engine.args)


def _unsized(recipe: Recipe, gpu_count: int) -> list[str]:
    args = ["--max-num-seqs", str(recipe.concurrency)]
    if recipe.context is not None:
        args += ["--max-model-len", str(recipe.context)]
    if gpu_count > 1:
        args += ["--tensor-parallel-size", str(gpu_count)]
    return args
