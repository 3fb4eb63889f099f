"""Reading YAML and JSON: each value is what the text says, or is refused with its line."""

from typing import Any

import pytest

from apollo_ds.config.documents import PATHS, parse_json, parse_yaml
from apollo_ds.errors import UserError

BOMB = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 1}]" for n in range(9))


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize("text", ["2024-11-26", "no", "1e3", "007", "1_000", "0x1f", "12:30:45", ".5"])
def test_a_path_is_the_text_as_it_is_written(key: str, text: str) -> None:
    assert parse_yaml(f"a: [{{{key}: {text}}}]") == [{"a": [{key: text}]}]
    assert parse_yaml(f"grid: {{{key}: [{text}, b]}}") == [{"grid": {key: [text, "b"]}}]


@pytest.mark.parametrize("text", ["", "null", "~"])
def test_a_path_that_is_nothing_stays_nothing(text: str) -> None:
    assert parse_yaml(f"source: {text}") == [{"source": None}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", 10),
        ("010", 10),
        ("-1_000", -1000),
        ("1e-3", 1e-3),
        ("2E3", 2000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -float("inf")),
        ("1:30", "1:30"),
        ("2024-11-26", "2024-11-26"),
        ("1.2.3", "1.2.3"),
        ("yes", True),
    ],
)
def test_numbers_are_those_that_people_write(text: str, expected: Any) -> None:
    assert parse_yaml(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key a comes twice; remove one"),
        ("a:\n  b: {c: 1, c: 2}\n", "line 2: the key c comes twice; remove one"),
        ("a: 1\n2: 3\n", "line 2: the key 2 is not text; quote it"),
        ("null: 3\n", "line 1: the key null is not text; quote it"),
        ("? [a, b]\n: 3\n", "line 1: a key is not text; quote it"),
        (f"a: {'9' * 5000}", "line 1: a number of 5,000 digits is too long"),
        ("[" * 5000, "nested more than 40 deep"),
        ("a: &b [*b]", "line 1: nested more than 40 deep"),
        (BOMB, "line 6: holds more than 100,000 values, with what its aliases stand for"),
        ("a: [1\nb: }\n", "not valid YAML: "),
        ("a: !!python/object:os.system x", "not valid YAML: "),
    ],
)
def test_yaml_that_is_no_sound_document_is_refused(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text)
    assert str(caught.value).startswith(expected)
    assert len(str(caught.value)) < 500


def test_a_merged_key_may_be_set_again() -> None:
    assert parse_yaml("a: &a {b: 1, c: 2}\nd: {<<: *a, b: 3}") == [{"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,\n "b": {"a": 2},\n "a": 3}', "line 3: the key a comes twice; remove one"),
        ('{"a": {"b": 1,\n "b": 2}}', "line 2: the key b comes twice; remove one"),
        ('{"a": NaN}', "not valid JSON: NaN is no number"),
        ('{"a": -Infinity}', "not valid JSON: -Infinity is no number"),
        (f'{{"a": {"9" * 5000}}}', "a number of 5,000 digits is too long"),
        ('{"a":' * 5000, "nested more than 40 deep"),
        ("{", "not valid JSON: "),
    ],
)
def test_json_that_is_no_sound_document_is_refused(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_json(text)
    assert str(caught.value).startswith(expected)


def test_json_is_read_as_it_is() -> None:
    assert parse_json('{"a": [1, 2.5e8, true, null], "b": {"c": "d"}}') == {
        "a": [1, 2.5e8, True, None],
        "b": {"c": "d"},
    }
