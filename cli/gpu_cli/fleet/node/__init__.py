"""What is to run, made into a request: a process of this machine, a container, a serverless endpoint."""
