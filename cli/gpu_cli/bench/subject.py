"""What is measured: a deployment that runs, and how its model is served there."""

from dataclasses import replace

from gpu_cli.bench.result import Load, Subject
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market.measured import serving_on_record
from gpu_cli.planner.engine.pinned_settings import pinned_settings
from gpu_cli.planner.measured import Serving
from gpu_cli.planner.trial import usual_request


def subject_of(fleet: Fleet, deployment: Deployment) -> Subject:
    """The deployment, as far as it decides the figures. What this machine did not launch has neither version nor flags,
    so that no plan will count on it.
    """
    on_record = serving_on_record(fleet.store, deployment.resource_name)
    serving = on_record or Serving(deployment.model, "", "", ())
    return Subject(
        deployment.name,
        deployment.resource_name,
        deployment.recipe,
        deployment.recipe_digest,
        serving.model,
        serving.quantization,
        deployment.provider,
        deployment.region,
        deployment.gpu,
        deployment.gpu_count,
        serving.engine_version,
        serving.engine_args,
        deployment.price_usd_per_hour,
    )


def context_of(subject: Subject) -> int | None:
    """How many tokens a request may have there; None where that is not known."""
    context: int | None = pinned_settings(subject.engine_args).get("max_model_len")
    return context


def with_usual_lengths(load: Load, context: int | None) -> Load:
    """The load with the lengths that estimates are for where it has none, and no dataset that has them.

    Raises UserError `usage` for requests that the context has no room for.
    """
    if load.dataset:
        return load
    usual_input, usual_output = usual_request(context)
    input_tokens, output_tokens = load.input_tokens or usual_input, load.output_tokens or usual_output
    if context and input_tokens + output_tokens > context:
        message = f"{input_tokens:,} tokens in and {output_tokens:,} out are more than the context of {context:,}"
        raise UserError(Exit.BAD_INPUT, "usage", message, hint="give less as --input or --output")
    return replace(load, input_tokens=input_tokens, output_tokens=output_tokens)
