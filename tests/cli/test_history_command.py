"""What `gpu up` measures is what `gpu history` shows and `gpu plan` expects."""

from pathlib import Path

from conftest import WriteRecipe
from driver import Gpu


def test_a_start_that_was_measured_is_what_the_next_one_is_expected_to_be(
    gpu: Gpu, recipe: WriteRecipe, tmp_path: Path
) -> None:
    tiny, saved = str(recipe("tiny")), str(tmp_path / "offers.json")
    before = gpu("plan", tiny, "--provider", "local", "--save", saved, "--json").json["candidates"][0]
    assert (before["expected_start_source"], before["starts_seen"]) == ("terms", 0)
    assert gpu("up", tiny).exit == 0
    assert gpu("down").exit == 0
    broken = str(recipe("broken", misbehaviour={"die": ["torch.OutOfMemoryError: CUDA out of memory."]}))
    assert gpu("up", broken).exit == 6

    (row,) = gpu("history", "--json").json["rows"]
    assert (row["provider"], row["kind"], row["gpu"]) == ("local", "process", "cpu")
    assert (row["starts"], row["worked"]) == (2, 1)
    assert row["start_s"]["median"] < before["expected_start_s"]
    assert row["failed"] == {"out-of-memory": 1}
    after = gpu("plan", tiny, "--provider", "local", "--json").json["candidates"][0]
    assert (after["expected_start_source"], after["starts_failed"]) == ("measured in this region", 0)
    assert after["expected_start_s"] < before["expected_start_s"]
    replayed = gpu("plan", tiny, "--provider", "local", "--offers", saved, "--json").json["candidates"][0]
    assert replayed == before
