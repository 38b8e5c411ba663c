"""What Vast.ai calls cards, in our names, and what an offer's id says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.errors import InvalidRequest
from gpu_providers.gpus import GPUS
from gpu_providers.vast.names import OfferId, from_vast, gpu_names, to_vast

CARDS = {
    ("A10", 23028): "A10",
    ("A10g", 23028): "A10G",
    ("A40", 46068): "A40",
    ("A100 PCIE", 40960): "A100-40GB-PCIE",
    ("A100 PCIE", 81920): "A100-80GB-PCIE",
    ("A100 SXM4", 40960): "A100-40GB",
    ("A100 SXM4", 81920): "A100-80GB",
    ("A100 SXM", 81920): "A100-80GB",
    ("H100 SXM", 81559): "H100",
    ("H100 PCIE", 81559): "H100-PCIE",
    ("H100 NVL", 95830): "H100-NVL",
    ("H200", 143771): "H200",
    ("H200 NVL", 143771): "H200-NVL",
    ("GH200 SXM", 97871): "GH200",
    ("B200", 183359): "B200",
    ("B300", 275040): "B300",
    ("L4", 23034): "L4",
    ("L40", 46068): "L40",
    ("L40S", 46068): "L40S",
    ("Tesla T4", 15360): "T4",
    ("Tesla V100", 16384): "V100-16GB",
    ("Tesla V100", 32768): "V100-32GB",
    ("RTX 3090", 24576): "RTX-3090",
    ("RTX 3090 Ti", 24564): "RTX-3090-TI",
    ("RTX 4080S", 16376): "RTX-4080-SUPER",
    ("RTX 4090", 24564): "RTX-4090",
    ("RTX 4090D", 24564): "RTX-4090D",
    ("RTX 5090", 32607): "RTX-5090",
    ("RTX A6000", 49140): "RTX-A6000",
    ("RTX 4000Ada", 20475): "RTX-4000-ADA",
    ("RTX 6000Ada", 49140): "RTX-6000-ADA",
    ("RTX PRO 6000", 97887): "RTX-PRO-6000",
    ("RTX PRO 6000 WS", 97887): "RTX-PRO-6000",
    ("RTX PRO 6000 Max-Q", 97887): "RTX-PRO-6000",
    ("RTX PRO 6000 S", 97887): "RTX-PRO-6000-SERVER",
}


@pytest.mark.parametrize(("sold", "name"), CARDS.items(), ids=[f"{name} {mib}" for name, mib in CARDS])
def test_a_card_that_is_sold_has_our_name_and_is_asked_for_by_theirs(sold: tuple[str, int], name: str) -> None:
    gpu_name, gpu_ram_mib = sold
    assert from_vast(gpu_name, gpu_ram_mib) is GPUS[name]
    assert gpu_name in to_vast(name)


@pytest.mark.parametrize(
    ("gpu_name", "gpu_ram_mib"),
    [
        ("A100 SXM4", None),
        ("RTX 4090", 49140),  # with twice the memory, soldered on
        ("RTX 3070", 8192),
        ("GTX 1080 Ti", 11264),
        ("InstinctMI210", 65520),
        ("", 81559),
    ],
)
def test_a_card_that_we_do_not_know_for_certain_has_no_name(gpu_name: str, gpu_ram_mib: int | None) -> None:
    assert from_vast(gpu_name, gpu_ram_mib) is None


def test_both_sizes_of_the_a100_are_asked_for_by_the_same_names() -> None:
    assert to_vast("A100-40GB") == to_vast("A100-80GB") == ("A100 SXM", "A100 SXM4")


def test_no_name_has_the_underscores_of_vasts_command_line() -> None:
    assert "H100 SXM" in gpu_names()
    assert not [name for name in gpu_names() if "_" in name]


def test_without_cards_all_that_our_catalogue_knows_are_asked_for() -> None:
    assert {gpu_name for gpu_name, _ in CARDS} <= set(gpu_names())


@pytest.mark.parametrize("card", ["MI300X", "RTX-4000-SFF-ADA", "cpu", "H999"])
def test_a_card_that_vast_does_not_have_has_no_name_there(card: str) -> None:
    assert to_vast(card) == ()
    assert gpu_names([card]) == []


def test_an_offer_id_reads_as_what_it_buys() -> None:
    offer_id = OfferId(1234567, 1, "H100 SXM", 4711)
    assert str(offer_id) == "vast-1234567-1xH100 SXM-m4711"
    assert str(OfferId(1234567, 8, "RTX PRO 6000 Max-Q", 4711, spot=True)) == (
        "vast-spot-1234567-8xRTX PRO 6000 Max-Q-m4711"
    )


@given(
    st.builds(
        OfferId,
        st.integers(1, 10**12),
        st.integers(1, 16),
        st.sampled_from(gpu_names()) | st.from_regex(r"[!-~][ -~]*", fullmatch=True),
        st.integers(1, 10**9),
        spot=st.booleans(),
    )
)
def test_an_offer_id_is_read_back_exactly(offer_id: OfferId) -> None:
    assert OfferId.parse(str(offer_id)) == offer_id


@pytest.mark.parametrize(
    "text",
    ["", "vast-1-1xH100 SXM", "vast-0-1xH100 SXM-m1", "vast-1-0xH100 SXM-m1", "vast-1-1x-m1", "vast-1-1xH100 SXM-m",
     "runpod-secure-1xNVIDIA L4", "vast-bid-1-1xL4-m1", "vast-1-1xL4-m1\n"],
)  # fmt: skip
def test_an_offer_id_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no offer of vast"):
        OfferId.parse(text)
