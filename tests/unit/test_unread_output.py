"""A command whose output nobody reads any more, as under `| head`, says so in one line."""

import os
import sys

import pytest

from apollo_ds.__main__ import main


@pytest.mark.parametrize("words", [["keys"], ["plan", "demo", "--json"], ["plan", "demo"]])
def test_output_that_nobody_reads_is_told_of(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as unread, pytest.raises(SystemExit) as end:
        monkeypatch.setattr(sys, "stdout", unread)
        main(words)
    assert end.value.code == 2
    assert capfd.readouterr().err == "apollo-ds: the program that read the output has ended\n"
