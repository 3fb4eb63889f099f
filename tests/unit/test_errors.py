"""A user's error is one line of some length, whatever it quotes."""

from apollo_ds.errors import UserError, shown


def test_a_message_is_one_line_that_a_terminal_shows_as_it_is() -> None:
    assert str(UserError("a\nb\x1b[31m\udcff é")) == "a\\nb\\x1b[31m\\udcff é"


def test_a_long_message_loses_its_middle() -> None:
    message = str(UserError("begin " + "x" * 4_000_000 + " end"))
    assert len(message) < 1600
    assert message.startswith("begin ")
    assert message.endswith(" end")


def test_a_value_is_shown_briefly() -> None:
    assert shown([1, 3, 6]) == "[1, 3, 6]"
    assert len(shown({"a": [["x" * 1000] * 1000] * 1000})) < 1000
