"""A recipe as text: YAML for people, a document for scripts."""

from collections.abc import Mapping

from gpu_cli.recipe.schema import Recipe


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe with its defaults, in the form of the file; read back, it is the same recipe."""
    import yaml

    content = recipe.model_dump(by_alias=True, exclude_none=True)
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return f"# {recipe.path}\n{text}".rstrip("\n")


def recipe_document(recipe: Recipe) -> Mapping[str, object]:
    """The keys that scripts may rely on."""
    return {
        "name": recipe.name,
        "path": str(recipe.path),
        "digest": recipe.digest(),
        "description": recipe.description,
        "model": str(recipe.model),
        "revision": recipe.revision,
        "weights": [str(source) for source in recipe.weights],
        "quantization": recipe.quantization,
        "context": recipe.context,
        "concurrency": recipe.concurrency,
        "served_name": recipe.served_name,
        "tool_call_parser": recipe.tool_call_parser,
        "reasoning_parser": recipe.reasoning_parser,
        "chat_template": recipe.chat_template,
        "engine": {
            "name": recipe.engine.name,
            "version": recipe.engine.version,
            "args": recipe.engine.args,
            "env": recipe.engine.env,
        },
        "gpu": {
            "names": recipe.gpu.names,
            "count": recipe.gpu.count,
            "min_memory_gib": recipe.gpu.min_memory_gib,
            "cpu": recipe.gpu.cpu,
        },
        "kind": None if recipe.kind is None else str(recipe.kind),
        "spot": recipe.spot,
        "when_lost": recipe.when_lost,
        "regions": recipe.regions,
        "privacy": str(recipe.privacy),
        "providers": recipe.providers,
        "cache": recipe.cache,
        "limits": {
            "idle_s": recipe.limits.idle_s,
            "ttl_s": recipe.limits.ttl_s,
            "start_deadline_s": recipe.limits.start_deadline_s,
            "boot_deadline_s": recipe.limits.boot_deadline_s,
            "budget_usd": recipe.limits.budget_usd,
            "max_price_usd_per_hour": recipe.limits.max_price_usd_per_hour,
        },
    }
