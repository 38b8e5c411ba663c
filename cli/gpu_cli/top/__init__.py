"""The live view of all deployments."""
