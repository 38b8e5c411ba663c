"""The clouds behind `gpu`: each is asked for offers and told to launch, describe and end one resource.

This package knows nothing of models or of vLLM, and imports nothing of `gpu_cli`.
"""
