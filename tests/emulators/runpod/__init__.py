"""An emulated RunPod: API v2, the proxy, logs, serverless endpoints and network volumes."""

from .emulator import RunPodEmulator

__all__ = ["RunPodEmulator"]
