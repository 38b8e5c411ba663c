"""`gpu offers`, as typed: what clouds in memory sell."""

import json
from dataclasses import replace
from typing import Any

import pytest
import typer
from sellers import Seller, offer
from typer.testing import CliRunner, Result

from gpu_cli.commands.offers import offers
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_providers.base import Kind, ProviderContext
from gpu_providers.errors import AuthError, NoCredentials, ProviderError, ProviderUnavailable

app = typer.Typer()
app.command()(offers)

CLOUDS: dict[str, Seller] = {}


@pytest.fixture(autouse=True)
def clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that sell; a test puts others into `CLOUDS`."""
    CLOUDS.clear()
    CLOUDS["runpod"] = Seller(offer(), replace(offer(price=1.0), gpu="A100-80GB-PCIE", region="US-TX-3"))
    CLOUDS["vast"] = Seller(offer("vast", 1.5), replace(offer("vast", 3.0), gpu="A100-40GB", gpu_count=2))

    def load(name: str, _: ProviderContext) -> Seller:
        return CLOUDS[name]

    monkeypatch.setattr("gpu_providers.registry.available", lambda: CLOUDS)
    monkeypatch.setattr("gpu_providers.registry.load", load)


def gpu(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def answer(*arguments: str) -> dict[str, Any]:
    result = gpu(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["version"] == 1
    return document


def ids(*arguments: str) -> list[str]:
    return [one["offer_id"] for one in answer(*arguments)["offers"]]


def error_of(*arguments: str) -> UserError:
    error = gpu(*arguments).exception
    assert isinstance(error, UserError)
    return error


def test_the_cheapest_hour_is_first_whoever_sells_it() -> None:
    assert ids() == ["runpod-1.0", "vast-1.5", "runpod-2.0", "vast-3.0"]


def test_an_offer_has_the_keys_that_scripts_rely_on() -> None:
    document = answer("--provider", "runpod", "--gpu", "H100")
    assert document["offers"] == [
        {
            "provider": "runpod",
            "kind": "pod",
            "gpu": "H100",
            "gpu_count": 1,
            "gpu_memory_gib": 79.2,
            "region": "eu",
            "offer_id": "runpod-2.0",
            "price_usd_per_hour": 2.0,
            "price_parts": {"gpu": 2.0},
            "interruptible": False,
            "stock_known": True,
            "prices_as_of": "2026-11-01T00:00:00Z",
        }
    ]
    runpod = document["providers"]["runpod"]
    assert runpod.keys() == {"ok", "offers", "seconds", "prices_as_of", "snapshot", "error"}
    assert (runpod["ok"], runpod["offers"]) == (True, 2)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--gpu", "A100"], ["runpod-1.0", "vast-3.0"]),
        (["--gpu", "h100", "--gpu", "A100-40GB"], ["vast-1.5", "runpod-2.0", "vast-3.0"]),
        (["--count", "2"], ["vast-3.0"]),
        (["--max-price", "1.5"], ["runpod-1.0", "vast-1.5"]),
        (["--region", "us"], ["runpod-1.0"]),
        (["--provider", "vast"], ["vast-1.5", "vast-3.0"]),
    ],
)
def test_what_was_not_asked_for_is_left_out(arguments: list[str], found: list[str]) -> None:
    assert ids(*arguments) == found


def test_spot_machines_are_for_those_who_ask() -> None:
    CLOUDS["vast"] = Seller(replace(offer("vast", 0.5), interruptible=True))
    assert "vast-0.5" not in ids()
    assert ids("--spot")[0] == "vast-0.5"
    assert "vast spot" in gpu("--spot").stdout


def test_serverless_is_what_the_cloud_is_asked_for_and_all_that_is_shown() -> None:
    CLOUDS["runpod"] = Seller(offer(), offer(price=4.0, kind=Kind.SERVERLESS))
    assert ids("--serverless") == ["runpod-4.0"]
    assert [search.kind for search in CLOUDS["runpod"].searches] == [Kind.SERVERLESS]


def test_people_see_a_table() -> None:
    lines = gpu("--gpu", "A100").stdout.splitlines()
    assert lines[0].split() == ["WHERE", "KIND", "GPU", "GIB", "$/H", "REGION"]
    assert lines[2].split() == ["vast", "pod", "A100-40GB", "x2", "79", "$3.00", "eu"]


def test_nothing_that_matches_is_nothing_fits() -> None:
    error = error_of("--gpu", "B200")
    assert (error.exit_status, error.code) == (Exit.NOTHING_FITS, "no-offers")
    CLOUDS["vast"] = Seller()
    assert "vast: sold out" in error_of("--provider", "vast").message


@pytest.mark.parametrize(
    ("fails", "status"),
    [
        (NoCredentials("there is no key", hint="set RUNPOD_API_KEY"), Exit.CREDENTIALS),
        (AuthError("the key is refused", hint="set RUNPOD_API_KEY"), Exit.CREDENTIALS),
        (ProviderUnavailable("it does not answer"), Exit.LAUNCH_FAILED),
    ],
)
def test_the_only_cloud_that_was_asked_decides_the_exit_status(fails: ProviderError, status: Exit) -> None:
    CLOUDS["runpod"] = Seller(fails=fails)
    error = error_of("--provider", "runpod")
    assert (error.exit_status, error.message) == (status, f"runpod: {fails.message}")
    if status is Exit.CREDENTIALS:
        assert error.hint == "set RUNPOD_API_KEY"


def test_a_cloud_that_fails_is_told_of_and_the_others_are_shown() -> None:
    CLOUDS["runpod"] = Seller(fails=NoCredentials("there is no key", hint="set RUNPOD_API_KEY"))
    result = gpu("--json")
    document = json.loads(result.stdout)
    assert [one["provider"] for one in document["offers"]] == ["vast", "vast"]
    assert document["providers"]["runpod"]["error"] == "there is no key"
    assert result.stderr.splitlines() == ["runpod: there is no key (set RUNPOD_API_KEY)"]


@pytest.mark.parametrize(
    ("arguments", "code", "guess"),
    [
        (["--gpu", "H1000"], "unknown-gpu", "did you mean H100?"),
        (["--gpu", "H10"], "unknown-gpu", "did you mean H100 or H100-PCIE or H100-NVL?"),
        (["--provider", "runpot"], "unknown-provider", "did you mean runpod?"),
    ],
)
def test_a_name_that_nothing_has_is_bad_input_with_a_guess(arguments: list[str], code: str, guess: str) -> None:
    error = error_of(*arguments)
    assert (error.exit_status, error.code) == (Exit.BAD_INPUT, code)
    assert guess in error.message
    assert not any(cloud.searches for cloud in CLOUDS.values())


def test_the_configuration_holds_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_PROVIDER", "vast")
    monkeypatch.setenv("GPU_MAX_PRICE_USD_PER_HOUR", "2")
    assert ids() == ["vast-1.5"]
    assert ids("--max-price", "5") == ["vast-1.5", "vast-3.0"]


def test_a_cloud_is_told_what_was_asked_for() -> None:
    gpu("--gpu", "A100", "--gpu", "H100", "--max-price", "3", "--spot", "--provider", "vast")
    (search,) = CLOUDS["vast"].searches
    assert search.cards == ("A100-40GB", "A100-40GB-PCIE", "A100-80GB", "A100-80GB-PCIE", "H100")
    assert (search.max_price_usd_per_hour, search.spot, search.min_gpu_memory_gib) == (3.0, True, 0.0)
