"""Checkpoints under bad conditions: written while training goes on, full disks, damage, two jobs at once."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ranks import pool
from recipes import tiny
from runs import events, train, trained

from apollo_ds.checkpoint import writer
from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.training.run import make_trainer


def checkpoints(recipe: Recipe) -> list[str]:
    return sorted(path.name for path in (recipe.out / "checkpoints").iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a small disk: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def train_past_a_slow_disk(processes: Processes, recipe: Recipe) -> list[int]:
    """Let no checkpoint of steps 3 and 4 come to its end before step 6; returns the steps that were done meanwhile."""
    run = make_trainer(recipe, processes)
    disk_answers = threading.Event()
    meanwhile = []
    save, add = writer.save_checkpoint, run.recorder.add

    def slow_save(*arguments: object) -> Path:
        disk_answers.wait(60)
        return save(*arguments)

    def add_and_note(*arguments: object) -> None:
        add(*arguments)
        if not disk_answers.is_set():
            meanwhile.append(run.recorder.totals.step)
            if meanwhile[-1] == 6:
                disk_answers.set()

    run.recorder.add = add_and_note
    writer.save_checkpoint = slow_save
    try:
        run.train()
    finally:
        writer.save_checkpoint = save
        run.close()
    return meanwhile


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    whole, slow = (
        tiny("gpt2", tmp_path / name, steps=12, save_every=4, method="scratch") for name in ("whole", "slow")
    )
    pool(2).run(train, whole)
    assert pool(2).run(train_past_a_slow_disk, slow) == [[1, 2, 3, 4, 5, 6]] * 2
    assert trained(slow) == trained(whole)
    for name in ("step-4", "step-8", "step-12"):
        files = [recipe.out / "checkpoints" / name / "rank-00001.safetensors" for recipe in (whole, slow)]
        assert files[0].read_bytes() == files[1].read_bytes()
        saved = SavedState(verify(files[1].parent))
        recorded = (slow.out / "metrics.jsonl").read_bytes()[: saved.manifest.metrics_bytes].splitlines()
        assert json.loads(recorded[-1]) == {"event": "checkpoint", "step": saved.manifest.totals.step}


def train_until_a_save_fails_late(processes: Processes, recipe: Recipe) -> str:
    """Let the first save fail after the steps up to the second."""
    run = make_trainer(recipe, processes)
    second_is_due, add = threading.Event(), run.recorder.add

    def fail(*_: object) -> Path:
        second_is_due.wait(60)
        raise UserError("the disk is full")

    def add_and_note(*arguments: Any) -> None:
        add(*arguments)
        if run.recorder.totals.step == 4:
            second_is_due.set()

    run.recorder.add = add_and_note
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(writer, "save_checkpoint", fail)
        run.train()
    run.close()
    return str(caught.value)


def test_a_save_is_recorded_when_the_one_before_it_is_complete(tmp_path: Path) -> None:
    """So that a run whose first save failed may begin anew, and one whose checkpoints are gone may not."""
    recipe = tiny("gpt2", tmp_path / "run", save_every=2, method="scratch")
    assert pool(2).run(train_until_a_save_fails_late, recipe) == ["the disk is full"] * 2
    assert [event["step"] for event in events(recipe, "checkpoint")] == [2]
    assert pool(2).run(train, recipe) == [None, None]


def test_others_may_read_a_checkpoint_as_any_file_of_the_user(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", steps=10)
    pool(2).run(train, recipe)
    usual = tmp_path / "usual"
    usual.touch()
    for path in (recipe.out / "checkpoints/step-10").iterdir():
        assert path.stat().st_mode == usual.stat().st_mode, path.name


def test_the_newest_few_and_every_so_many_steps_are_kept(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", save_every=2, keep_checkpoints=2, keep_every=6, method="scratch")
    pool(2).run(train, recipe)
    assert checkpoints(recipe) == ["latest", "step-12", "step-18", "step-20", "step-6"]


def test_a_disk_that_fills_up_is_one_sentence_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    whole = tiny("gpt2", tmp_path / "whole", save_every=4)
    full = tiny("gpt2", small_disk / "run", save_every=4)
    pool(2).run(train, whole)
    said = pool(2).run(train, full)
    assert said[0] == said[1]
    assert "No space left on device" in said[0]
    assert "run the same command to resume" in said[0]
    assert "\n" not in said[0]
    left = [name for name in checkpoints(full) if name != "latest"]
    assert left
    assert not any(name.endswith(".partial") for name in left)
    for name in left:
        verify(full.out / "checkpoints" / name)
    assert (full.out / "checkpoints" / "latest").read_text() in left

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert pool(2).run(train, full) == [None, None]
    assert trained(full) == trained(whole)


def test_metrics_on_a_full_disk_end_the_run_on_every_rank(small_disk: Path) -> None:
    recipe = tiny("gpt2", small_disk / "run", steps=400, save_every=400, eval_every=400, log_every=1, method="scratch")
    (small_disk / "ballast").write_bytes(bytes(1000 * 1024))
    said = pool(2).run(train, recipe)
    assert said[0] == said[1]
    assert said[0].startswith(f"{recipe.out}/metrics.jsonl: cannot be written: No space left on device")


def claim(processes: Processes, recipe: Recipe) -> str | None:
    try:
        processes.on_first(RunFolder(recipe.out).claim)
    except UserError as error:
        return str(error)
    return None


def test_a_read_only_run_folder_is_one_sentence_on_every_rank(small_disk: Path) -> None:
    recipe = tiny("gpt2", small_disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert (
        pool(2).run(claim, recipe)
        == [f"out: cannot write to {recipe.out}: Read-only file system; mend that, or use another folder with out=..."]
        * 2
    )
