"""What is kept with an app at Modal comes back as it was given, however it was spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modal._utils.name_utils import check_tag_dict

from gpu_providers.modal_cloud.options import Endpoint
from gpu_providers.modal_cloud.tags import OURS, Facts, decoded, encoded

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True).filter(
    lambda name: name not in ("price", "endpoint", "max_containers")
)
LABELS = st.dictionaries(NAMES, st.text(min_size=1, max_size=300), max_size=6)
FACTS = Facts(price_usd_per_hour=4.395, endpoint=Endpoint.SERVER, most_containers=3)


@given(LABELS)
def test_every_label_comes_back_and_nothing_else(labels: dict[str, str]) -> None:
    assert decoded(encoded({**labels, **FACTS.labels()})) == labels


@given(LABELS)
def test_modals_client_takes_every_tag(labels: dict[str, str]) -> None:
    check_tag_dict(encoded({**labels, **FACTS.labels()}))


def test_a_long_name_goes_on_under_further_keys() -> None:
    tags = encoded({"name": "x" * 64, "model": "org/m_1"})
    assert tags == {OURS: "x" * 63, f"{OURS}.1": "x", "gpu-cli.model": "org_2Fm_5F1"}


def test_a_label_that_says_nothing_is_left_out() -> None:
    assert encoded({"name": "llama", "host": ""}) == {OURS: "llama"}


def test_tags_of_others_are_no_labels() -> None:
    assert decoded({"team": "research", "gpu-cli.name": "llama"}) == {"name": "llama"}


def test_what_the_launch_decided_can_be_read_back() -> None:
    assert Facts.of(encoded({"name": "llama", **FACTS.labels()})) == FACTS


@pytest.mark.parametrize(
    "tags", [{}, {"gpu-cli.price": "much", "gpu-cli.endpoint": "x", "gpu-cli.max_containers": "0"}]
)
def test_what_cannot_be_read_is_what_a_launch_decides_by_default(tags: dict[str, str]) -> None:
    assert Facts.of(tags) == Facts(price_usd_per_hour=0.0, endpoint=Endpoint.FUNCTION, most_containers=1)
