"""`gpu down`: gone, and verified gone."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from conftest import WriteRecipe
from driver import Gpu, is_alive, wait_until


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_down_of_nothing_is_done_and_says_so(gpu: Gpu) -> None:
    down = gpu("down")
    assert (down.exit, down.stdout) == (0, "")
    assert "nothing is running" in down.stderr
    assert gpu("down", "--all", "--json").json == {"version": 1, "ended": []}


def test_down_of_a_name_that_never_was_is_no_such_deployment(gpu: Gpu) -> None:
    for name in ("nobody", "gpu-nobody-123456"):
        down = gpu("down", name, "--json")
        assert (down.exit, down.error["code"]) == (8, "no-such-deployment")


def test_down_ends_the_only_one_and_its_process_and_port_are_gone(gpu: Gpu, tiny: str) -> None:
    port = urlsplit(gpu("up", tiny).stdout.strip()).port
    assert port
    assert not is_free(port)
    down = gpu("down", "--json")
    assert down.exit == 0, down.stderr
    (ended,) = down.json["ended"]
    assert (ended["state"], ended["reason"]) == ("gone", "gpu down")
    assert is_free(port)
    assert gpu.engines() == []
    assert gpu.processes("supervisor.py") == []
    assert not list((gpu.home / "state" / "keys").iterdir())

    again = gpu("down", "tiny")
    assert again.exit == 0
    assert "tiny was gone already" in again.stderr


def test_down_with_several_running_asks_for_a_name_and_all_ends_all(gpu: Gpu, recipe: WriteRecipe) -> None:
    gpu("up", str(recipe("one")))
    gpu("up", str(recipe("two")))
    unclear = gpu("down", "--json")
    assert (unclear.exit, unclear.error["code"]) == (2, "which-one")
    assert len(gpu.engines()) == 2
    assert gpu("down", "one", "nobody").exit == 8
    assert len(gpu.engines()) == 2, "a wrong name must not end half of what was named"
    assert gpu("down", "--all").exit == 0
    assert gpu.engines() == []


def test_an_engine_that_ignores_sigterm_is_gone_all_the_same(gpu: Gpu, recipe: WriteRecipe) -> None:
    gpu("up", str(recipe(misbehaviour={"ignore_term": True})))
    engine = gpu.engine()
    down = gpu("down")
    assert down.exit == 0
    assert not is_alive(engine)


def test_down_ends_a_start_and_the_waiting_up_says_so(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu.start("up", str(recipe(misbehaviour={"load_s": 30})), "--json")
    wait_until(lambda: gpu.engines())
    assert gpu("down", "tiny").exit == 0
    ended = up.result()
    assert ended.exit == 6
    assert ended.error["code"] == "ended-while-starting"
    assert gpu.processes("supervisor.py") == []


def test_a_resource_that_a_cloud_may_have_is_not_called_unknown_when_it_cannot_be_asked(
    gpu: Gpu, plug_in: Callable[..., None]
) -> None:
    plug_in(module="raise RuntimeError('the SDK is too old')")
    for name in ("gpu-elsewhere-1a2b3c", "elsewhere"):
        down = gpu("down", name, "--json")
        assert (down.exit, down.error["still_billing"]) == (9, [name])
