"""What a command prints to."""

import pytest
from rich.text import Text

from data_prep.output import Output
from data_prep.plain import is_plain


@pytest.mark.parametrize(
    ("variables", "plain"),
    [
        ({}, False),
        ({"NO_COLOR": ""}, False),
        ({"NO_COLOR": "0"}, True),
        ({"TERM": "dumb"}, True),
        ({"TERM": "unknown"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True),
    ],
)
def test_a_terminal_without_escape_sequences_is_asked_for(
    variables: dict[str, str], plain: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"NO_COLOR": "", "TERM": "xterm", "FORCE_COLOR": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    assert is_plain() == plain
    Output().print(Text("cost", style="bold red"))
    assert ("\x1b[" in capsys.readouterr().out) != plain
