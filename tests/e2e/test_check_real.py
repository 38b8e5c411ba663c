"""`gpu up --check` on the real vLLM: a small model holds what its recipe promises, and what it cannot do is named."""

import pytest
import yaml
from driver import Gpu
from served import RECIPE, assert_nothing_is_left, port_of

from gpu_cli.paths import shipped

pytestmark = pytest.mark.engine

CONTEXT_TOKENS, AT_ONCE = 1024, 3
"""Less than the recipe's own: a processor takes a minute for a prompt of eight thousand tokens."""
CANNOT = {
    *("reasoning", "tool-call", "tool-call-stream", "tool-calls-parallel", "tool-call-forced", "tool-call-needless"),
}


def test_a_small_model_holds_what_its_recipe_promises_and_what_it_cannot_do_is_named(gpu: Gpu) -> None:
    content = yaml.safe_load((shipped("recipes") / f"{RECIPE}.yaml").read_text())
    recipe = gpu.cwd / "checked.yaml"
    recipe.write_text(yaml.safe_dump({**content, "context": CONTEXT_TOKENS, "concurrency": AT_ONCE}))
    up = gpu("up", str(recipe), "--check", "--json")
    assert up.exit == 0, up.stdout + up.stderr

    checks = {one["id"]: one for one in up.json["check"]["checks"]}
    outcomes = {check_id: one["outcome"] for check_id, one in checks.items()}
    assert outcomes == {check_id: "cannot" if check_id in CANNOT else "ok" for check_id in checks}
    assert checks["tool-call"]["detail"] == "its recipe has no tool_call_parser"
    assert checks["context"]["detail"] == f"{CONTEXT_TOKENS - 1:,} of {CONTEXT_TOKENS:,} tokens"
    assert checks["many-at-once"]["detail"] == f"{AT_ONCE} at once"

    assert gpu("down").exit == 0
    assert_nothing_is_left(gpu, port_of(up.json["base_url"]))
