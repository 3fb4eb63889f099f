"""Which checkpoints are removed; a damaged one never takes a sound one's place."""

from pathlib import Path

import pytest
from small_checkpoints import checkpoint, flip

from apollo_ds.checkpoint.prune import Pruner, discard_from, set_aside


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_newest_few_and_every_so_many_steps_stay(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8, 10):
        newest = checkpoint(tmp_path, step)
    (tmp_path / "step-12.partial").mkdir()
    Pruner(tmp_path, None, keep=2, stays=lambda step: step % 4 == 0).prune(newest)
    assert names(tmp_path) == {"step-4", "step-8", "step-10"}


def test_damaged_ones_do_not_count(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        newest = checkpoint(tmp_path, step)
    flip(tmp_path / "step-6" / "rank-00000.safetensors")
    Pruner(tmp_path, None, keep=2, stays=lambda step: False).prune(newest)
    assert names(tmp_path) == {"step-4", "step-6", "step-8"}


def test_those_of_another_run_do_not_count(tmp_path: Path) -> None:
    newest = [checkpoint(tmp_path, step, run="other" if step == 6 else "mine") for step in (2, 4, 6, 8)][-1]
    Pruner(tmp_path, "mine", keep=2, stays=lambda step: False).prune(newest)
    assert names(tmp_path) == {"step-4", "step-6", "step-8"}


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_stays_whatever_is_called_newer(keep: int, tmp_path: Path) -> None:
    pruner = Pruner(tmp_path, None, keep, stays=lambda step: False)
    (tmp_path / "step-99").mkdir()
    (tmp_path / "step-2-good").mkdir()
    for step in (2, 4, 6):
        pruner.prune(checkpoint(tmp_path, step))
    assert names(tmp_path) == {"step-99", "step-2-good", *(f"step-{step}" for step in (4, 6)[-keep:])}


def test_a_link_goes_but_not_what_it_names(tmp_path: Path) -> None:
    kept, folder = checkpoint(tmp_path / "elsewhere", 2), tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "step-2").symlink_to(kept)
    (folder / "step-3.partial").symlink_to(kept)
    Pruner(folder, None, keep=1, stays=lambda step: False).prune(checkpoint(folder, 4))
    assert names(folder) == {"step-4"}
    assert (kept / "manifest.json").is_file()


def test_what_is_set_aside_never_replaces_what_was_before(tmp_path: Path) -> None:
    for _ in range(3):
        set_aside(checkpoint(tmp_path, 4))
    assert names(tmp_path) == {"step-4.damaged", "step-4.damaged-2", "step-4.damaged-3"}


def test_a_course_that_went_wrong_goes_and_what_is_no_checkpoint_stays(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        checkpoint(tmp_path, step)
    (tmp_path / "step-8").mkdir()
    discard_from(tmp_path, 4)
    assert names(tmp_path) == {"step-2", "step-8.damaged"}
