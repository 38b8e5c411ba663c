"""What is kept with an instance at Lambda, as tags."""

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.lambda_cloud.tags import is_marked, labels_of, ordered_at, tags_of

NOW = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)
LABELS = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True), st.text(min_size=1, max_size=128))


@given(LABELS)
def test_labels_and_time_come_back_as_they_were_given(labels: dict[str, str]) -> None:
    instance = {"tags": tags_of(labels, NOW)}
    assert labels_of(instance) == labels
    assert ordered_at(instance) == NOW


@given(st.dictionaries(st.text(max_size=80), st.text(max_size=200)))
def test_whatever_the_labels_lambda_takes_the_tags(labels: dict[str, str]) -> None:
    for tag in tags_of(labels, NOW):
        assert re.fullmatch(r"[a-z][a-z0-9:-]+", tag["key"])
        assert len(tag["key"]) <= 55
        assert 1 <= len(tag["value"]) <= 128


def test_a_label_that_is_too_long_or_says_nothing_is_left_out_and_the_others_stay() -> None:
    assert labels_of({"tags": tags_of({"model": "m" * 129, "host": "", "recipe": "llama"}, NOW)}) == {"recipe": "llama"}


def test_tags_of_others_are_no_labels_and_no_mark() -> None:
    instance = {"tags": [{"key": "team", "value": "research"}, {"key": "ordered-at", "value": "7"}, {}]}
    assert labels_of(instance) == {}
    assert ordered_at(instance) is None
    assert not is_marked(instance)
    assert is_marked({"tags": tags_of({}, NOW)})


def test_an_instance_without_tags_is_read_all_the_same() -> None:
    for instance in ({}, {"tags": None}, {"tags": [{"key": "gpu-cli:ordered-at", "value": "soon"}]}):
        assert labels_of(instance) == {}
        assert ordered_at(instance) is None
