"""Which checkpoints a run is resumed from, by their manifests alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from apollo_ds.checkpoint.find import FORMAT, hash_of, newest_sound
from apollo_ds.errors import UserError


def checkpoint(folder: Path, step: int, **changes: Any) -> Path:
    """A checkpoint of one small file."""
    path = folder / f"step-{step}"
    path.mkdir(parents=True)
    (path / "rank-00000.safetensors").write_bytes(b"state")
    files = {"rank-00000.safetensors": hash_of(path / "rank-00000.safetensors")}
    (path / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": files, **changes}))
    return path


def test_the_newest_whole_one_is_taken_and_what_is_wrong_with_newer_ones_is_told(tmp_path: Path) -> None:
    sound = checkpoint(tmp_path, 8)
    (checkpoint(tmp_path, 16) / "rank-00000.safetensors").write_bytes(b"other")
    (checkpoint(tmp_path, 24) / "manifest.json").write_text("{")
    (checkpoint(tmp_path, 32) / "manifest.json").write_text("[]")
    newest, complaints = newest_sound(tmp_path)
    assert newest == sound
    assert [line.rpartition("/")[2] for line in complaints] == [
        "manifest.json: missing or damaged",
        "manifest.json: missing or damaged",
        "rank-00000.safetensors: missing or damaged",
    ]


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1, None])
def test_another_format_is_refused_rather_than_passed_over(other: int | None, tmp_path: Path) -> None:
    checkpoint(tmp_path, 8)
    checkpoint(tmp_path, 16, format=other)
    with pytest.raises(
        UserError, match=f"has format {other}, and this version of apollo_ds reads format {FORMAT}; use"
    ):
        newest_sound(tmp_path)
