"""Running a command of `apollo-ds` within a test, and what it says."""

import pytest

from apollo_ds.__main__ import main

Capture = pytest.CaptureFixture[str]


def refusal(capsys: Capture, *words: str) -> str:
    """The one sentence with which a command ends; nothing else is printed."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("apollo-ds: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("apollo-ds: ").rstrip("\n")


def output(capsys: Capture, *words: str) -> str:
    """Return the text that a command prints to the standard output."""
    capsys.readouterr()
    main(words)
    return capsys.readouterr().out
