"""What is to run, made into a launch request: a process of this machine, a container, or a serverless endpoint."""

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.node.node import check_remote, container_request, serverless_request
from gpu_cli.fleet.node.process import Prepared, prepare_process, process_request
from gpu_cli.planner.rank import Candidate
from gpu_cli.recipe.schema import Recipe
from gpu_cli.ui.progress import Progress
from gpu_providers.base import Kind, LaunchRequest, Provider


def prepare(
    fleet: Fleet, recipe: Recipe, candidate: Candidate, provider: Provider, progress: Progress
) -> Prepared | None:
    """What this machine has to get ready first: all of it for a process of its own, nothing for what is rented.

    Raises UserError for what could not be started there.
    """
    if candidate.offer.kind is not Kind.PROCESS:
        check_remote(recipe, candidate, provider)
        return None
    prepared = prepare_process(fleet, recipe, candidate.offer, progress)
    if prepared.note:
        progress.note(prepared.note)
    return prepared


def request_for(
    fleet: Fleet, recipe: Recipe, deployment: Deployment, candidate: Candidate, prepared: Prepared | None
) -> LaunchRequest:
    """The request, with `prepared` as `prepare` gave it. The key of the endpoint is made here, unless the cloud's edge
    has one of its own. Raises UserError and ProviderError.
    """
    kind, provider = candidate.offer.kind, fleet.provider(candidate.offer.provider)
    if kind is Kind.SERVERLESS and provider.edge_key(kind, deployment.resource_name):
        return serverless_request(fleet, recipe, deployment, candidate, None)
    key = fleet.keys.create(deployment.resource_name)
    if kind is Kind.SERVERLESS:
        return serverless_request(fleet, recipe, deployment, candidate, key)
    if prepared is not None:
        return process_request(fleet, recipe, deployment, candidate, prepared, key)
    return container_request(fleet, recipe, deployment, candidate, key)
