"""Reading YAML so that nothing changes its meaning, and errors know their line."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.yaml_file import BadFile, parse_mapping


def read(text: str) -> dict[str, object]:
    return parse_mapping(text, file="f.yaml", code="bad").values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'null'", "null"),
        ("8", 8),
        ("-8", -8),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("0.32", 0.32),
        ("1234e56", "1234e56"),
        ("0.32.0", "0.32.0"),
        ("'8'", "8"),
        ("9" * 5000, "9" * 5000),
        ("[a, 1]", ("a", 1)),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: object) -> None:
    assert read(f"key: {text}") == {"key": value}


# PyYAML itself loses these two line ends when it writes them.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\u2028\u2029"), max_size=12)


@given(st.dictionaries(TEXT, TEXT | st.booleans() | st.none(), max_size=4))
def test_what_yaml_writes_is_read_back(values: dict[str, object]) -> None:
    assert read(yaml.safe_dump(values, allow_unicode=True)) == values


@given(st.text(alphabet="0123456789.eE+-_:xonyNUL~", max_size=8))
def test_text_that_looks_like_something_else_is_read_back(text: str) -> None:
    assert read(yaml.safe_dump({"key": text})) == {"key": text}


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**17), 10**17))
def test_numbers_are_read_back_exactly(number: float) -> None:
    assert read(yaml.safe_dump({"key": number})) == {"key": number}


def test_the_line_of_a_value_that_is_missing_is_that_of_what_is_around_it() -> None:
    said = parse_mapping("a: 1\nb:\n  c: 2\n", file="f.yaml", code="bad")
    assert (said.line(("b", "c")), said.line(("b", "missing")), said.line(("missing",))) == (3, 2, 1)


@pytest.mark.parametrize(
    "text", [r'key: "a\0b"', r'key: "\e[2J"', r'key: ["\uD800"]', r'"k\0": 1', r'"k\n": 1', "[a]: 1"]
)
def test_control_characters_are_refused_however_they_are_written(text: str) -> None:
    with pytest.raises(BadFile, match=r"^f\.yaml:1: "):
        read(text)
