"""What Modal calls cards: asked for exactly, and understood in all its own spellings."""

import pytest

from gpu_providers.gpus import GPUS
from gpu_providers.modal_cloud.cards import CARDS, canonical_of, gpu_string, rate_key


def test_every_card_of_modal_is_one_of_our_catalogue() -> None:
    assert GPUS.keys() >= CARDS.keys()


@pytest.mark.parametrize(
    ("card", "count", "text"),
    [
        ("H100", 1, "H100!"),
        ("H100", 4, "H100!:4"),
        ("A100-80GB", 2, "A100-80GB:2"),
        ("A100-40GB", 1, "A100-40GB"),
        ("B200", 8, "B200:8"),
        ("RTX-PRO-6000-SERVER", 1, "RTX-PRO-6000"),
    ],
)
def test_a_card_is_asked_for_so_that_no_other_comes(card: str, count: int, text: str) -> None:
    assert gpu_string(card, count) == text


@pytest.mark.parametrize("card", CARDS)
def test_what_is_asked_for_is_what_comes_back(card: str) -> None:
    assert canonical_of(gpu_string(card, 1)) == card


@pytest.mark.parametrize(
    ("modal_gpu_type", "card"),
    [
        ("H100", "H100"),
        ("h100", "H100"),
        ("A10G", "A10"),
        ("A100", "A100-40GB"),
        ("B200+", "B200"),
        ("RTX-PRO-6000", "RTX-PRO-6000-SERVER"),
        ("Z900", ""),
        ("", ""),
    ],
)
def test_the_cards_of_containers_are_known_by_all_their_names(modal_gpu_type: str, card: str) -> None:
    assert canonical_of(modal_gpu_type) == card


def test_every_card_has_a_price_of_its_own() -> None:
    assert len({rate_key(card) for card in CARDS}) == len(CARDS)
