"""RunPod: pods and serverless endpoints over its REST API v2."""
