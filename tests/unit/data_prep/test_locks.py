"""A build keeps a second one out of its folder, where its file system can."""

import errno
from pathlib import Path

import pytest
from no_locks import without_locks

from data_prep import files
from data_prep.errors import Busy


def test_a_folder_that_is_locked_is_refused(tmp_path: Path) -> None:
    with files.locked(tmp_path), pytest.raises(Busy, match="another run works there"), files.locked(tmp_path):
        pass
    with files.locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_locks(monkeypatch)
    for _ in range(3):
        with files.locked(tmp_path):
            pass
    assert caplog.messages == [
        f"{tmp_path}: its file system has no locks, so that nothing keeps a second job out: start no other one there "
        "until this one ends"
    ]


def test_another_error_of_the_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), files.locked(tmp_path):
        pass
