"""Locks of killed builds go; those of running ones stay."""

import os
import time
from pathlib import Path

import pytest

from apollo_ds.engine.stale_builds import remove_stale_locks


def test_a_lock_without_a_holder_goes_and_one_with_a_holder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    left, held = (tmp_path / name / "lock" for name in ("killed", "building"))
    for lock in (left, held):
        lock.parent.mkdir()
        lock.touch()
        os.utime(lock, (time.time() - 60, time.time() - 60))
    with held.open():
        remove_stale_locks()
        assert not left.exists()
        assert held.exists()
