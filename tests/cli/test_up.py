"""`gpu up`, as scripts and people use it."""

import time

from driver import Gpu

DEPLOYMENT_KEYS = [
    "version", "name", "recipe", "state", "provider", "kind", "gpu", "gpu_count", "region", "resource_id", "base_url",
    "model", "price_usd_per_hour", "spent_usd", "created_at", "ready_at", "ended_at", "reason", "idle_seconds", "stops",
]  # fmt: skip


def test_up_prints_exactly_one_line_which_is_the_base_url(gpu: Gpu, tiny: str) -> None:
    up = gpu("up", tiny)
    assert up.exit == 0, up.stderr
    print(up.stderr)
    (line,) = up.stdout.splitlines()
    assert line.startswith("http://127.0.0.1:")
    assert line.endswith("/v1")
