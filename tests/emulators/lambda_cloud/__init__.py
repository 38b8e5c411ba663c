"""An emulated Lambda Cloud: instance types and their capacity, launches, instances, SSH keys and file systems."""

from .emulator import LambdaEmulator

__all__ = ["LambdaEmulator"]
