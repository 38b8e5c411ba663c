"""`gpu env`: what an OpenAI client needs, as shell exports."""

import shlex

from gpu_cli.commands.options import AsJson, DeploymentName
from gpu_cli.ui.output import Result, show


def env(name: DeploymentName = None, as_json: AsJson = False) -> None:
    """Print OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL as shell exports: eval "$(gpu env)"."""
    from gpu_cli.commands.here import need_endpoint, open_here, openai_variables, the_deployment

    with open_here() as fleet:
        variables = openai_variables(fleet, need_endpoint(fleet, the_deployment(fleet, name)))
    exports = "\n".join(f"export {variable}={shlex.quote(value)}" for variable, value in variables.items())
    show(Result(variables, stdout=exports), as_json=as_json)
