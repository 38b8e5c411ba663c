"""`python -m gpu_cli` is `gpu`."""

from gpu_cli.app import main

main()
