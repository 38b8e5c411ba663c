"""An emulated Modal: apps, functions in real containers of Modal's own runtime, schedules, Secrets and Dicts."""

from .emulator import ModalEmulator

__all__ = ["ModalEmulator"]
