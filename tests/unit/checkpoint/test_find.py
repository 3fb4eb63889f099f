"""Which checkpoints a run is resumed from, and which are damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_checkpoints import checkpoint, flip, values_of

from apollo_ds.checkpoint.find import checkpoints_in, newest_sound, verify
from apollo_ds.checkpoint.manifest import FORMAT, DamagedCheckpoint, rank_file, read_manifest
from apollo_ds.errors import UserError


def test_the_newest_whole_one_is_taken_and_what_is_wrong_with_newer_ones_is_told(tmp_path: Path) -> None:
    sound = checkpoint(tmp_path, 8)
    (checkpoint(tmp_path, 16) / rank_file(0)).write_bytes(b"other")
    (checkpoint(tmp_path, 24) / "manifest.json").write_text("{")
    (checkpoint(tmp_path, 32) / "manifest.json").write_text("[" * 100_000)
    (tmp_path / "step-40").mkdir()
    newest, complaints = newest_sound(tmp_path)
    assert newest == sound
    assert [line.rpartition("/")[2] for line in complaints] == [
        "manifest.json: missing or damaged",
        "manifest.json: missing or damaged",
        "manifest.json: missing or damaged",
        "rank-00000.safetensors: missing or damaged",
    ]


def test_a_checkpoint_can_be_taken_at_its_manifest_s_word(tmp_path: Path) -> None:
    sound, damaged = checkpoint(tmp_path, 8), checkpoint(tmp_path, 16)
    flip(damaged / rank_file(1))
    assert newest_sound(tmp_path)[0] == sound
    assert newest_sound(tmp_path, reads_files=False) == (damaged, [])


def test_what_only_looks_like_a_checkpoint_is_none(tmp_path: Path) -> None:
    sound = checkpoint(tmp_path, 8)
    for name in ("step-8-good", "step-final", "step-010", "step-٣", "step-9.damaged", "step--1"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-40").write_text("a file")
    (tmp_path / "step-40.tar.gz").write_text("a file")
    assert checkpoints_in(tmp_path) == [sound]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"totals": {"step": 9, "tokens": 10, "flops": 1.5, "seconds": 2.0}}, "is of step 9"),
        ({"run": "another"}, "is a checkpoint of another run"),
        ({"run": None}, "missing or damaged"),
        ({"course": {"stage": 1, "stage_steps": [40]}}, "missing or damaged"),
        ({"totals": {"step": 8, "tokens": 10.5, "flops": 1.5, "seconds": 2.0}}, "missing or damaged"),
        ({"totals": {"step": 8, "tokenz": 10, "flops": 1.5, "seconds": 2.0}}, "missing or damaged"),
        ({"files": {"../rank-00000.safetensors": "a"}}, "missing or damaged"),
        ({"files": {}}, "missing or damaged"),
        ({"more": 1}, "missing or damaged"),
        ({"format": 2}, "only format 2 has no hash"),
        ({"format": 1}, "missing or damaged"),
    ],
)
def test_a_manifest_that_says_what_none_may_say_is_damaged(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(DamagedCheckpoint, match=complaint):
        verify(checkpoint(tmp_path, 8, **changes), run="mine")


def test_no_flipped_bit_of_a_manifest_changes_what_is_read(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 8)
    manifest, content = read_manifest(path), (path / "manifest.json").read_bytes()
    changed = 0
    for position in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        (path / "manifest.json").write_bytes(flipped)
        try:
            assert read_manifest(path) == manifest
        except DamagedCheckpoint:
            changed += 1
    assert changed > len(content)


@pytest.mark.parametrize(
    "slices",
    [
        pytest.param([(0, 2)], id="a rank lacks"),
        pytest.param([(0, 3), (2, 4)], id="twice"),
        pytest.param([(0, 1), (2, 4)], id="a gap"),
    ],
)
def test_slices_that_do_not_make_up_a_tensor_are_noticed(slices: list[tuple[int, int]], tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match="lacks a part of weight"):
        verify(checkpoint(tmp_path, 8, slices))


def test_an_unhashed_manifest_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 8)
    values = values_of(path, 8) | {"format": 2}
    for key in ("metrics_hash", "run"):
        del values[key]
    (path / "manifest.json").write_text(json.dumps(values))
    assert not verify(path, run="mine").manifest.is_hashed


def test_a_later_format_is_refused_rather_than_passed_over(tmp_path: Path) -> None:
    checkpoint(tmp_path, 8)
    checkpoint(tmp_path, 16, format=FORMAT + 1)
    expected = f"has format {FORMAT + 1}, and this version of apollo_ds reads formats up to {FORMAT}; use"
    with pytest.raises(UserError, match=expected):
        newest_sound(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink, replace_by_a_pipe])
def test_a_damaged_file_is_noticed(harm: Callable[[Path], None], tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 8)
    harm(path / rank_file(1))
    with pytest.raises(DamagedCheckpoint, match=r"rank-00001\.safetensors: missing or damaged"):
        verify(path)
