"""The engine's own virtual environment, for running models on this machine."""
