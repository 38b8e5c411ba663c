"""An emulated Vast.ai: searches, instances on machines of strangers, their raw ports and their logs."""

from .emulator import VastEmulator

__all__ = ["VastEmulator"]
