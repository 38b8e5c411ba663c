"""Where an app is in its life, by Modal's own word."""

from typing import TYPE_CHECKING

from gpu_providers.errors import NotFound

if TYPE_CHECKING:
    from modal import App, Client
    from modal.types import AppInfo

STOPPING, INITIALIZING = "stopping", "initializing"
ENDED = ("stopped", "disabled")
"""The SDK leaves out both when it lists what lives (modal/_environments.py, 1.6.4)."""


def looked_up(client: "Client", app_id: str) -> "App":
    """The app with this id, also one that has ended. Raises NotFound, and Modal's errors.

    The SDK takes a name for an id as well, and would find another app by it.
    """
    import modal

    app = modal.App.lookup(app_id, client=client)
    if app.app_id != app_id:
        raise NotFound(f"Modal has no app with the id {app_id}")
    return app


def state_of(info: "AppInfo") -> str:
    """Modal's word for it: `deployed`, `stopping` ... What Modal does not say reads as `ephemeral`."""
    return str(info.lifecycle.state.value)


def has_ended(info: "AppInfo") -> bool:
    """It runs nothing anew, and will not again."""
    return state_of(info) in ENDED
