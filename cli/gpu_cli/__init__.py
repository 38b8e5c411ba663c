"""`gpu`: an open model on a rented GPU in one command, and never a bill left behind."""

__version__ = "0.1.0"
