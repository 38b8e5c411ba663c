"""`gpu cost`, of what really ran."""

from conftest import WriteRecipe
from driver import Gpu

from gpu_cli.units import format_usd


def test_what_ran_is_on_the_ledger_while_it_lives_and_after_its_end(gpu: Gpu, recipe: WriteRecipe) -> None:
    gpu("up", str(recipe(providers={"local": {"price_usd_per_hour": 360}})))
    running = gpu("cost", "--json").json
    assert [row["key"] for row in running["rows"]] == ["tiny"]
    gpu("down")
    (ended,) = gpu.ls()
    report = gpu("cost", "--by", "deployment", "--json").json
    assert report["total_usd"] == ended["spent_usd"] > running["total_usd"] > 0
    table = gpu("cost", "--by", "provider").stdout.splitlines()
    assert [line.split()[:2] for line in table[:2]] == [
        ["PROVIDER", "SPENT"],
        ["local", format_usd(ended["spent_usd"])],
    ]
