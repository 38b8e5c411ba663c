"""The image of a container: the engine's own, made fit for Modal's runtime, which it starts as `python`."""

from typing import TYPE_CHECKING

from gpu_providers.modal_cloud.blueprint import Blueprint

if TYPE_CHECKING:
    from modal import Image

# vLLM's images have `python3` only. `add_python` would bring another Python, into /usr/local, in front of the one that
# vLLM is installed in: its console script would still find its own, and what looks for `python3` on the PATH would not.
_PYTHON = 'RUN command -v python || ln -s "$(command -v python3)" /usr/local/bin/python'


def image_of(plan: Blueprint) -> "Image":
    """Without its entrypoint, which would be handed the command of Modal's runtime. It is built with what it is for."""
    import modal

    secret = modal.Secret.from_name(plan.registry_secret) if plan.registry_secret else None
    image = modal.Image.from_registry(plan.image, secret, setup_dockerfile_commands=[_PYTHON]).entrypoint([])
    for path in plan.beside:  # /root is where the SDK puts the entry (modal/_utils/function_utils.py, 1.6.4)
        image = image.add_local_file(path, f"/root/{path.name}")
    return image
