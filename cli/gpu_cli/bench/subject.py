"""What is measured: a deployment that runs, and how its model is served there."""

from dataclasses import replace

from gpu_cli.bench.result import Load, Subject
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


def with_usual_lengths(load: Load, subject: Subject) -> Load:
    """The load with the lengths that estimates are for where it has none, and no dataset that has them."""
    if load.dataset:
        return load
    usual_input, usual_output = usual_request(pinned_settings(subject.engine_args).get("max_model_len"))
    return replace(
        load, input_tokens=load.input_tokens or usual_input, output_tokens=load.output_tokens or usual_output
    )
