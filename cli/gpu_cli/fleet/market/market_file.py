"""A market in a file: what `gpu plan --save` keeps and `gpu plan --offers` plans with again."""

import json
from collections.abc import Mapping
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.market.market import Answer, Market
from gpu_cli.write_file import write_text
from gpu_providers.base import Offer
from gpu_providers.offer_document import offers_document, offers_from_document

MAX_BYTES = 100_000_000


def write_market(path: Path, market: Market) -> None:
    """Replaces what is there. Raises UserError as `write_text` does."""
    providers = {
        name: {
            "seconds": answer.seconds,
            "problem": answer.problem,
            "hint": answer.hint,
            "failed": answer.failed,
            "no_credentials": answer.no_credentials,
            "credentials_refused": answer.credentials_refused,
            "from_snapshot": answer.from_snapshot,
        }
        for name, answer in market.answers.items()
    }
    text = json.dumps({**offers_document(market.offers), "providers": providers}, indent=1)
    write_text(path, f"{text}\n")


def read_market(path: Path) -> Market:
    """The market as it was kept. Raises UserError naming the file and what is wrong with it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("is too large for a file of offers")
        document = json.loads(path.read_text(encoding="utf-8"))
        return _market(offers_from_document(document), _providers(document))
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from None
    except RecursionError:
        raise _bad(path, "is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise _bad(path, str(error)) from None


def _providers(document: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
    """What each said. Raises ValueError."""
    providers = document.get("providers", {})
    if not isinstance(providers, dict) or not all(isinstance(said, dict) for said in providers.values()):
        raise ValueError("providers: must say of each provider how it answered")
    return providers


def _market(offers: tuple[Offer, ...], providers: Mapping[str, Mapping[str, object]]) -> Market:
    by_provider: dict[str, list[Offer]] = {name: [] for name in providers}
    for offer in offers:
        by_provider.setdefault(offer.provider, []).append(offer)
    return Market({name: _answer(found, providers.get(name, {})) for name, found in by_provider.items()})


def _answer(offers: list[Offer], said: Mapping[str, object]) -> Answer:
    seconds = said.get("seconds", 0.0)
    return Answer(
        tuple(offers),
        float(seconds) if isinstance(seconds, int | float) else 0.0,
        str(said.get("problem", "")),
        str(said.get("hint", "")),
        failed=said.get("failed") is True,
        no_credentials=said.get("no_credentials") is True,
        credentials_refused=said.get("credentials_refused") is True,
        from_snapshot=said.get("from_snapshot") is True,
    )


def _bad(path: Path, what: str) -> UserError:
    return UserError(
        Exit.BAD_INPUT, "bad-offers", f"{path}: {what}", hint="write one with: gpu plan RECIPE --save FILE"
    )
