"""The process that `gpu_cli.fleet.guard.process` starts."""

from gpu_cli.fleet.guard.run import main

main()
