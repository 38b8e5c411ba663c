"""A stand-in for vLLM, for tests: see `entrypoints/openai/api_server.py`."""
