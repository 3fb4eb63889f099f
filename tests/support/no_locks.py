"""A file system on which no file can be locked."""

import errno
import fcntl
import os

import pytest


def without_locks(monkeypatch: pytest.MonkeyPatch, code: int = errno.ENOLCK) -> None:
    """Let flock answer with an error, as the system does there."""

    def flock(file: object, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
