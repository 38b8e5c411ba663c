"""RunPod's names of cards, offers and pools."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.errors import InvalidRequest
from gpu_providers.gpus import canonical
from gpu_providers.runpod.names import COMMUNITY, SECURE, SERVERLESS, OfferId, Pool, pool_of

# https://docs.runpod.io/references/gpu-types, with the memory in GB that the catalogue gives
CARDS = {
    ("NVIDIA GeForce RTX 3080", 10): "RTX-3080",
    ("NVIDIA GeForce RTX 3080 Ti", 12): "RTX-3080-TI",
    ("NVIDIA GeForce RTX 3090", 24): "RTX-3090",
    ("NVIDIA GeForce RTX 3090 Ti", 24): "RTX-3090-TI",
    ("NVIDIA GeForce RTX 4070 Ti", 12): "RTX-4070-TI",
    ("NVIDIA GeForce RTX 4080", 16): "RTX-4080",
    ("NVIDIA GeForce RTX 4080 SUPER", 16): "RTX-4080-SUPER",
    ("NVIDIA GeForce RTX 4090", 24): "RTX-4090",
    ("NVIDIA GeForce RTX 5080", 16): "RTX-5080",
    ("NVIDIA GeForce RTX 5090", 32): "RTX-5090",
    ("NVIDIA RTX A4000", 16): "RTX-A4000",
    ("NVIDIA RTX A4500", 20): "RTX-A4500",
    ("NVIDIA RTX A5000", 24): "RTX-A5000",
    ("NVIDIA RTX A6000", 48): "RTX-A6000",
    ("NVIDIA A30", 24): "A30",
    ("NVIDIA A40", 48): "A40",
    ("NVIDIA L4", 24): "L4",
    ("NVIDIA L40", 48): "L40",
    ("NVIDIA L40S", 48): "L40S",
    ("NVIDIA RTX 2000 Ada Generation", 16): "RTX-2000-ADA",
    ("NVIDIA RTX 4000 Ada Generation", 20): "RTX-4000-ADA",
    ("NVIDIA RTX 4000 SFF Ada Generation", 20): "RTX-4000-SFF-ADA",
    ("NVIDIA RTX 5000 Ada Generation", 32): "RTX-5000-ADA",
    ("NVIDIA RTX 6000 Ada Generation", 48): "RTX-6000-ADA",
    ("NVIDIA RTX PRO 4500 Blackwell", 32): "RTX-PRO-4500",
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96): "RTX-PRO-6000-SERVER",
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96): "RTX-PRO-6000",
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 96): "RTX-PRO-6000",
    ("NVIDIA A100 80GB PCIe", 80): "A100-80GB-PCIE",
    ("NVIDIA A100-SXM4-80GB", 80): "A100-80GB",
    ("NVIDIA H100 PCIe", 80): "H100-PCIE",
    ("NVIDIA H100 80GB HBM3", 80): "H100",
    ("NVIDIA H100 NVL", 94): "H100-NVL",
    ("NVIDIA H200", 141): "H200",
    ("NVIDIA H200 NVL", 143): "H200-NVL",
    ("NVIDIA B200", 180): "B200",
    ("NVIDIA B300 SXM6 AC", 288): "B300",
    ("AMD Instinct MI300X OAM", 192): "MI300X",
    ("Tesla V100-PCIE-16GB", 16): "V100-16GB",
    ("Tesla V100-SXM2-16GB", 16): "V100-16GB",
    ("Tesla V100-SXM2-32GB", 32): "V100-32GB",
}


@pytest.mark.parametrize(("sold", "name"), CARDS.items(), ids=[gpu_id for gpu_id, _ in CARDS])
def test_a_card_of_the_catalogue_has_our_name(sold: tuple[str, int], name: str) -> None:
    gpu_id, memory_gb = sold
    for gpu in (canonical(gpu_id, memory_gb), canonical(gpu_id)):
        assert gpu is not None
        assert gpu.name == name


@pytest.mark.parametrize(
    ("gpu_id", "memory_gb"),
    [
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb", 24),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 2g.48gb", 48),
        ("NVIDIA H200", 70.5),
    ],
)
def test_a_slice_of_a_card_is_not_taken_for_the_card(gpu_id: str, memory_gb: float) -> None:
    assert canonical(gpu_id, memory_gb) is None


@pytest.mark.parametrize("gpu_id", ["NVIDIA GeForce RTX 3070", "NVIDIA RTX A2000", "NVIDIA Rubin CPX", "unknown", ""])
def test_a_card_that_we_do_not_know_has_no_name(gpu_id: str) -> None:
    assert canonical(gpu_id, 8) is None


def test_an_offer_id_reads_as_what_it_buys() -> None:
    assert str(OfferId(SECURE, 1, "NVIDIA H100 80GB HBM3")) == "runpod-secure-1xNVIDIA H100 80GB HBM3"
    assert str(OfferId(SERVERLESS, 2, "NVIDIA L40S")) == "runpod-serverless-2xNVIDIA L40S"


@given(
    st.builds(
        OfferId,
        st.sampled_from([SECURE, COMMUNITY, SERVERLESS]),
        st.integers(1, 999),
        st.sampled_from([gpu_id for gpu_id, _ in CARDS]) | st.from_regex(r"[!-~][ -~]*", fullmatch=True),
    )
)
def test_an_offer_id_is_read_back_exactly(offer: OfferId) -> None:
    assert OfferId.parse(str(offer)) == offer


@pytest.mark.parametrize(
    "text",
    ["", "local-1", "runpod-secure-0xNVIDIA L4", "runpod-spot-1xNVIDIA L4", "runpod-secure-1x", "runpod-secure-xL4",
     "runpod-secure-1xNVIDIA L4\nrunpod"],
)  # fmt: skip
def test_an_offer_id_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no offer of runpod"):
        OfferId.parse(text)


CATALOGUE = [
    {"id": "NVIDIA L4", "pool": "AMPERE_24"},
    {"id": "NVIDIA RTX A5000", "pool": "AMPERE_24"},
    {"id": "NVIDIA GeForce RTX 3090", "pool": "AMPERE_24"},
    {"id": "NVIDIA H200", "pool": "HOPPER_141"},
    {"id": "NVIDIA B300 SXM6 AC", "pool": None},
    {"id": "NVIDIA A30"},
    {"pool": "AMPERE_24"},
]


def test_serverless_gets_a_card_by_its_pool_less_the_others() -> None:
    assert pool_of("NVIDIA L4", CATALOGUE) == Pool("AMPERE_24", ("NVIDIA GeForce RTX 3090", "NVIDIA RTX A5000"))
    assert pool_of("NVIDIA H200", CATALOGUE) == Pool("HOPPER_141", ())


@pytest.mark.parametrize("gpu_id", ["NVIDIA B300 SXM6 AC", "NVIDIA A30", "NVIDIA L40S"])
def test_a_card_without_a_pool_is_not_sold_as_serverless(gpu_id: str) -> None:
    assert pool_of(gpu_id, CATALOGUE) is None
