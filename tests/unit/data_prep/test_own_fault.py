"""What the machine lacks is told in a sentence; a fault of our own leaves its traceback in a file that is named."""

import re
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from data_prep.errors import first_line
from data_prep.own_fault import sentence_of, tell_own_fault


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def of_full_disk_in_rust() -> None:
    tokenizers.Tokenizer(tokenizers.models.BPE()).save("/dev/full")


def of_full_disk_in_numpy() -> None:
    with open("/dev/full", "wb", buffering=0) as file:
        np.arange(10**5).tofile(file)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: Path("/dev/full").write_text("x"), "the disk is full: free some space and run the same command again"),
        (of_full_disk_in_rust, "the disk is full: free"),
        (of_full_disk_in_numpy, "the disk is full: free"),
        (lambda: Path("/proc/no/folder").mkdir(parents=True), "/proc/no: "),
        (lambda: Path("/dev/null/file").write_text("x"), "/dev/null/file: a file is where a folder should be: move"),
        (lambda: Path("/dev").read_bytes(), "/dev: a folder is where a file should be: move it away, or name another"),
        (lambda: Path("/" + "x" * 300).read_bytes(), "the name is too long: give a shorter one"),
        (lambda: np.empty(1 << 50, np.uint8), "the memory is used up: free some, or use a machine with more"),
    ],
)
def test_errors_of_the_machine_are_one_sentence(act: object, sentence: str) -> None:
    try:
        act()  # type: ignore[operator]
    except BaseException as error:
        told = sentence_of(error)
    assert told is not None and sentence in told and "\n" not in told


def test_an_os_error_without_a_number_is_told_by_its_first_line_and_other_errors_are_none_of_the_machine_s() -> None:
    assert sentence_of(OSError("Can't load it\nmore about that")) == "Can't load it"
    assert sentence_of(PermissionError(13, "Permission denied", b"/some/file")) == (
        "/some/file: may not be read or written by this user: change its permissions, or name another place"
    )
    assert sentence_of(KeyError("x")) is None
    assert sentence_of(ValueError("3 requested and 2 written")) is None


def test_a_fault_of_our_own_is_one_line_that_names_the_file_with_the_traceback(tmp_path: Path) -> None:
    error = raised(KeyError("x"))
    line = tell_own_fault("apollo-prep", error, tmp_path)
    (path,) = tmp_path.iterdir()
    assert line == (
        f"apollo-prep: this is a bug in apollo-prep (KeyError: 'x'); the traceback is in {path}; please report it"
    )
    assert "in raised\n" in path.read_text() and path.read_text().endswith("KeyError: 'x'\n")


def test_where_the_folder_cannot_be_written_to_another_takes_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    line = tell_own_fault("apollo-ds", raised(ValueError("a\nb")), Path("/dev/null"))
    assert re.search(rf"\(ValueError: a\); the traceback is in {tmp_path}/apollo-ds-fault-\w+\.log; please", line)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    line = tell_own_fault("apollo-ds", raised(AssertionError()))
    assert re.search(r"\(AssertionError\); it was raised at .*test_own_fault\.py:\d+, and the traceback could", line)


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("\none\ntwo"), "one"), (TimeoutError(), "TimeoutError"), (OSError("  "), "OSError")],
)
def test_what_an_error_says_is_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
