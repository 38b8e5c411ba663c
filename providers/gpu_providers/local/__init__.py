"""This machine as a provider: the command runs as a process of the user's own computer."""
