"""The model of a recipe: what is known of it, and how vLLM would serve it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.models.bare import as_loaded
from gpu_cli.models.find import find_facts
from gpu_cli.models.known import KnownModel
from gpu_cli.paths import Paths
from gpu_cli.planner.configurations import Configurations, least_loaded_gib
from gpu_cli.planner.engine.engine_settings import EngineVersion
from gpu_cli.planner.engine.pinned_settings import pinned_settings
from gpu_cli.planner.offers.filters import cards_named
from gpu_cli.planner.sizing import Workload
from gpu_cli.recipe.files import BAD_RECIPE
from gpu_cli.recipe.schema import Recipe
from gpu_providers.gpus import GPUS

_LENGTHENED_BY = ("--hf-overrides", "--rope-scaling", "--hf_overrides", "--rope_scaling")
_ALLOW_LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


@dataclass(frozen=True)
class RecipeModel:
    """A recipe and what is known of its model, which is looked up when somebody needs it, and once."""

    recipe: Recipe
    paths: Paths
    environ: Mapping[str, str]

    @property
    def known(self) -> KnownModel | None:
        """None where nothing is known, for the reason that is in `missing`."""
        return None if isinstance(self._found, UserError) else self._found

    @property
    def missing(self) -> UserError | None:
        """Why nothing is known."""
        return self._found if isinstance(self._found, UserError) else None

    @property
    def weights_gib(self) -> float:
        """What the clouds are told that it takes on disk; 0 where that is not known.

        Nothing is looked up for a model that a CPU will do for: it is small, and may be meant for a machine without
        network.
        """
        if self.recipe.gpu.cpu or self.known is None:
            return 0.0
        return sum(part.stored_bytes for part in self.known.parts) / 2**30

    @property
    def least_gpu_memory_gib(self) -> float:
        """What the clouds are told that all GPUs need together: nothing that the planner might take has less.

        Of a card that it does not know it takes the recipe's word; 0 where a CPU will do, or nothing is known.
        """
        gpu = self.recipe.gpu
        if gpu.min_memory_gib or not GPUS.keys() >= set(cards_named(gpu.names)):
            return gpu.min_memory_gib or 0.0
        return 0.0 if gpu.cpu or self.known is None else least_loaded_gib(self.known.parts)

    @cached_property
    def _found(self) -> KnownModel | UserError:
        try:
            return what_is_known(self.recipe, self.paths, self.environ)
        except UserError as error:
            return error


def what_is_known(
    recipe: Recipe, paths: Paths, environ: Mapping[str, str], *, config_file: Path | None = None
) -> KnownModel:
    """The recipe's model as it will lie in GPU memory. Raises UserError as `find_facts` does."""
    known = find_facts(recipe.model, revision=recipe.revision, paths=paths, environ=environ, config_file=config_file)
    return as_loaded(known, recipe.quantization)


def pinned_by(recipe: Recipe) -> Mapping[str, Any]:
    """The settings that the recipe's own arguments decide. Raises UserError BAD_INPUT for values that cannot be."""
    try:
        return pinned_settings(recipe.engine.args)
    except ValueError as error:
        raise _bad_engine(error) from None


def configurations_of(recipe: Recipe, known: KnownModel, pinned: Mapping[str, Any]) -> Configurations:
    """How the recipe can be served with the settings that are pinned.

    Raises UserError BAD_INPUT for a release that is none, and for requests that are longer than vLLM lets them be.
    """
    try:
        version = EngineVersion.parse(recipe.engine.version)
    except ValueError as error:
        raise _bad_engine(error) from None
    context, longest = recipe.context or known.facts.max_context, known.facts.max_context
    if context > longest and not _is_lengthened(recipe):
        message = f"requests of {context:,} tokens are too long: the model's own maximum is {longest:,}"
        hint = f"vLLM takes longer ones with --hf-overrides in engine.args, or {_ALLOW_LONGER} in engine.env"
        raise UserError(Exit.BAD_INPUT, "context", message, hint=hint)
    return Configurations(known.facts, known.parts, Workload(context, recipe.concurrency), version, pinned)


def _is_lengthened(recipe: Recipe) -> bool:
    """Whether the recipe tells vLLM that the model can do more than its configuration says."""
    return _ALLOW_LONGER in recipe.engine.env or any(arg.startswith(_LENGTHENED_BY) for arg in recipe.engine.args)


def _bad_engine(error: ValueError) -> UserError:
    return UserError(Exit.BAD_INPUT, BAD_RECIPE, f"engine: {error}")
