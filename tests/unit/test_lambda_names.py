"""What Lambda calls cards, in our names, and what an offer's id says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.errors import InvalidRequest
from gpu_providers.gpus import GPUS
from gpu_providers.lambda_cloud.names import OfferId, architecture, card_of

SOLD = {
    "gpu_1x_gh200": ("1x GH200 (96 GB)", "GH200", 1),
    "gpu_1x_h100_pcie": ("1x H100 (80 GB PCIe)", "H100-PCIE", 1),
    "gpu_1x_h100_sxm5": ("1x H100 (80 GB SXM5)", "H100", 1),
    "gpu_8x_h100_sxm5gdr": ("8x H100 (80 GB SXM5)", "H100", 8),
    "gpu_2x_b200_sxm6": ("2x B200 (180 GB SXM6)", "B200", 2),
    "gpu_8x_a100_80gb_sxm4": ("8x A100 (80 GB SXM4)", "A100-80GB", 8),
    "gpu_8x_a100": ("8x A100 (40 GB SXM4)", "A100-40GB", 8),
    "gpu_4x_a100": ("4x A100 (40 GB PCIe)", "A100-40GB-PCIE", 4),
    "gpu_1x_a100_sxm4": ("1x A100 (40 GB SXM4)", "A100-40GB", 1),
    "gpu_1x_a10": ("1x A10 (24 GB PCIe)", "A10", 1),
    "gpu_4x_a6000": ("4x A6000 (48 GB)", "RTX-A6000", 4),
    "gpu_8x_v100_n": ("8x Tesla V100 (16 GB)", "V100-16GB", 8),
}
"""As its API and its console have been seen to describe them."""


@pytest.mark.parametrize("type_name", SOLD)
def test_a_type_that_is_sold_has_our_name_and_its_number_of_cards(type_name: str) -> None:
    description, name, count = SOLD[type_name]
    assert card_of(description, type_name) == (GPUS[name], count)


@pytest.mark.parametrize(
    ("type_name", "description", "name"),
    [
        ("gpu_1x_h100_pcie", "1x H100 (80 GB)", "H100-PCIE"),
        ("gpu_1x_h100_sxm5", "1x H100 (80 GB)", "H100"),
        ("gpu_1x_a100_sxm4", "1x A100 (40 GB)", "A100-40GB"),
        ("gpu_1x_a100_pcie", "1x A100 (40 GB HBM2)", "A100-40GB-PCIE"),
        ("gpu_1x_gh200", "1x GH200 (96 GB HBM3)", "GH200"),
        ("gpu_1x_h100_sxm5", "1x H100 (80 GB PCIE)", "H100-PCIE"),
    ],
)
def test_a_form_that_the_description_leaves_out_is_in_the_name_of_the_type(
    type_name: str, description: str, name: str
) -> None:
    assert card_of(description, type_name) == (GPUS[name], 1)


@pytest.mark.parametrize(
    ("type_name", "description"),
    [
        ("cpu_4x_general", "4x CPU General"),
        ("cpu_4x_general", "N/A"),
        ("gpu_1x_rtx6000", "1x RTX 6000 (24 GB)"),  # of 2018; three younger cards are called almost the same
        ("gpu_1x_h100_nvl", "1x H100 (80 GB NVL)"),  # has 94
        ("gpu_1x_a10", "1x A10 (24 GB SXM4)"),
        ("gpu_1x_h100_sxm5", "1x H100"),
        ("gpu_1x_h100_sxm5", "1x H100 (40 GB SXM5)"),
        ("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)"),
        ("gpu_0x_h100_sxm5", "0x H100 (80 GB SXM5)"),
        ("gpu_1x_x100", "1x X100 (80 GB SXM9)"),
        ("", ""),
    ],
)
def test_a_card_that_we_do_not_know_for_certain_has_no_name(type_name: str, description: str) -> None:
    assert card_of(description, type_name) is None


DESCRIPTIONS = st.builds(
    "{}x {} ({} GB{})".format,
    st.integers(0, 99),
    st.sampled_from(["H100", "A10"]),
    st.sampled_from([24, 80]),
    st.text(),
)


@given(st.text() | DESCRIPTIONS, st.text())
def test_a_description_that_is_read_begins_with_the_number_of_cards(description: str, type_name: str) -> None:
    found = card_of(description, type_name)
    assert found is None or description.strip().startswith(f"{found[1]}x {found[0].name.partition('-')[0]} ")


@pytest.mark.parametrize(
    ("type_name", "runs"),
    [
        ("gpu_1x_gh200", "arm64"),
        ("gpu_4x_gb200", "arm64"),
        ("gpu_1x_h100_sxm5", "x86_64"),
        ("gpu_8x_b200_sxm6", "x86_64"),
        ("gpu_8x_a100_80gb_sxm4", "x86_64"),
        ("cpu_4x_general", "x86_64"),
    ],
)
def test_what_has_a_grace_processor_runs_programs_for_arm(type_name: str, runs: str) -> None:
    assert architecture(type_name) == runs


def test_an_offer_id_reads_as_what_it_buys() -> None:
    assert str(OfferId("gpu_1x_h100_sxm5", "us-east-1")) == "lambda-gpu_1x_h100_sxm5@us-east-1"


WORD = st.from_regex(r"[a-z0-9][a-z0-9_.-]*", fullmatch=True)


@given(st.builds(OfferId, WORD, WORD))
def test_an_offer_id_is_read_back_exactly(offer_id: OfferId) -> None:
    assert OfferId.parse(str(offer_id)) == offer_id


@pytest.mark.parametrize(
    "text",
    ["", "lambda-gpu_1x_a10", "lambda-gpu_1x_a10@", "lambda-@us-east-1", "lambda-a@b@c", "lambda-on-demand-1xGH200",
     "vast-1-1xL4-m1", "lambda-gpu_1x_a10@us-east-1\n", "gpu_1x_a10@us-east-1"],
)  # fmt: skip
def test_an_offer_id_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no offer of lambda"):
        OfferId.parse(text)
