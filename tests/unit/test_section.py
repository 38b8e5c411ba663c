"""A provider's section of a recipe, read option by option."""

import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.errors import InvalidRequest
from gpu_providers.section import Section

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text()))


def outcome(read: Callable[[], object]) -> object:
    """What is read, or the error."""
    try:
        return read()
    except InvalidRequest as error:
        return error


@given(ANYTHING, st.floats(-100, 100), st.floats(0, 100))
def test_a_number_is_finite_and_within_its_bounds_or_refused_by_name(value: object, least: float, more: float) -> None:
    section = Section("cloud", {"speed": value})
    found = outcome(lambda: section.number("speed", least, least=least, most=least + more))
    if isinstance(found, InvalidRequest):
        assert found.message == f"provider cloud: speed is {value!r}"
    else:
        assert isinstance(found, float)
        assert math.isfinite(found)
        assert least <= found <= least + more


@given(ANYTHING)
def test_what_is_read_is_of_its_type_or_refused_with_a_hint(value: object) -> None:
    section = Section("cloud", {"it": value})
    for read, kind in (
        (lambda: section.flag("it", False), bool),
        (lambda: section.whole("it", 1, least=0), int),
        (lambda: section.text("it", hint="write it"), str),
        (lambda: section.codes("it", re.compile("[A-Z]{2}"), hint="write them"), tuple),
    ):
        found = outcome(read)
        assert found.hint if isinstance(found, InvalidRequest) else type(found) is kind


def test_what_is_not_said_has_its_default() -> None:
    section = Section("cloud", {})
    section.check_known(())
    assert (section.flag("on", True), section.whole("few", 3, least=1), section.number("much", 2.5, least=0)) == (
        True,
        3,
        2.5,
    )
    assert (section.text("word", hint=""), section.codes("lands", re.compile("[A-Z]{2}"), hint="")) == ("", ())


def test_codes_are_read_in_capitals() -> None:
    assert Section("cloud", {"lands": ["se", "US"]}).codes("lands", re.compile("[A-Z]{2}"), hint="") == ("SE", "US")


@pytest.mark.parametrize(("said", "hint"), [("sped", "did you mean 'speed'?"), ("x", "known options: speed, place")])
def test_a_misspelt_option_is_refused_with_the_nearest_or_with_all(said: str, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=f"provider cloud has no option '{said}'") as refused:
        Section("cloud", {said: 1}).check_known(("speed", "place"))
    assert refused.value.hint == hint
