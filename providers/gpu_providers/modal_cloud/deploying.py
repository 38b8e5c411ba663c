"""An app is made of a blueprint and published, with Modal's SDK.

Of the ways to run a server at Modal these are two, both from one file that is loaded by its path, so that this file
alone goes to Modal and no Python there has to be the one here. A web Function is the usual: a request that finds no
container waits until one has started, and is answered by it. A Server, with less on the way, answers 503 to all that
comes before a container is ready. Functions that are pickled need the same Python on both sides, functions of an
installed package take all of it with them, and what runs an image without any Python is not in the SDK's public part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_providers.modal_cloud.blueprint import Blueprint
from gpu_providers.modal_cloud.image import image_of
from gpu_providers.modal_cloud.options import Endpoint
from gpu_providers.modal_cloud.sources import loaded, outside_of_git

if TYPE_CHECKING:
    from modal import App, Client


@dataclass(frozen=True)
class Deployed:
    """An app that is published."""

    app_id: str
    url: str
    """Of its endpoint, without a slash at the end."""


def deploy(plan: Blueprint, client: "Client", environment: str) -> Deployed:
    """Publish it; under a name that is taken, it takes the place of what is there.

    Returns when Modal has built the image, however long that takes. Raises Modal's errors.
    """
    import modal

    app = modal.App(plan.name, tags=dict(plan.tags))
    url = (_server if plan.endpoint is Endpoint.SERVER else _function)(app, plan)
    with outside_of_git():
        app.deploy(client=client, environment_name=environment)
    return Deployed(app.app_id or "", (url() or "").rstrip("/"))


def _function(app: "App", plan: Blueprint) -> Callable[[], str | None]:
    """Its URL is known once the app is published."""
    import modal

    serves: Any = modal.web_server(plan.port, startup_timeout=plan.startup_timeout_s, requires_proxy_auth=plan.guarded)
    shares: Any = modal.concurrent(max_inputs=plan.max_inputs, target_inputs=plan.target_inputs)
    runs = app.function(**_container(plan), timeout=plan.timeout_s, region=list(plan.regions) or None)
    function: Any = runs(shares(serves(loaded(plan.entry).serve)))
    return lambda: function.get_web_url()


def _server(app: "App", plan: Blueprint) -> Callable[[], str | None]:
    """As above. One that is never to have a second container has no target: that is what starts one."""
    runs = app.server(
        **_container(plan),
        port=plan.port,
        unauthenticated=not plan.guarded,
        target_concurrency=plan.target_inputs if plan.max_containers > 1 else None,
        compute_region=list(plan.regions) or None,
    )
    return runs(loaded(plan.entry).Server).get_url


def _container(plan: Blueprint) -> dict[str, Any]:
    """What Functions and Servers have in common."""
    import modal

    named = {path: modal.Volume.from_name(name, create_if_missing=True) for path, name in plan.volumes.items()}
    return {
        "image": image_of(plan),
        "env": dict(plan.env),
        "secrets": [modal.Secret.from_dict({name: value.reveal() for name, value in plan.secrets.items()})],
        "gpu": plan.gpu,
        "cpu": plan.cpu,
        "memory": plan.memory_mib,
        "volumes": named,
        "min_containers": 0,
        "max_containers": plan.max_containers,
        "scaledown_window": plan.scaledown_window_s,
        "startup_timeout": plan.startup_timeout_s,
    }
