"""What is said of a card that nobody knows."""

from gpu_cli.did_you_mean import did_you_mean
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_providers.gpus import GPUS


def unknown_card(name: str) -> UserError:
    """For a name that no card has, with those that may be meant."""
    meant = [card for card in GPUS if name and card.lower().startswith(name.lower())]
    guess = f"; did you mean {' or '.join(meant)}?" if meant else did_you_mean(name.upper(), GPUS)
    return UserError(Exit.BAD_INPUT, "unknown-gpu", f"no card is called {name!r}{guess}", hint="see all: gpu gpus")
