"""Clouds on loopback: real HTTP servers with state, prices, a bill and, on request, misbehaviour.

Started in tests as context managers, and by hand with `python -m tests.emulators CLOUD --port P`.
"""
