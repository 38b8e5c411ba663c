"""`gpu url`: the base_url of a deployment."""

from gpu_cli.commands.options import AsJson, DeploymentName
from gpu_cli.ui.output import Result, show


def url(name: DeploymentName = None, as_json: AsJson = False) -> None:
    """Print the OpenAI base_url of a deployment."""
    from gpu_cli.commands.here import need_endpoint, open_here, the_deployment

    with open_here() as fleet:
        deployment = need_endpoint(fleet, the_deployment(fleet, name))
    show(
        Result({"name": deployment.name, "base_url": deployment.base_url}, stdout=deployment.base_url), as_json=as_json
    )
