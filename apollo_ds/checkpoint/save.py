"""Checkpoints: a folder with every rank's slices, complete with hashes or not there at all.

checkpoints/step-200/rank-00000.safetensors   one file a rank: its slices of weights and moments
checkpoints/step-200/manifest.json            written last: totals, counters, and the files' hashes
checkpoints/latest                            the name of the newest one
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import save_file

from apollo_ds.checkpoint.find import FORMAT, PARTIAL, complete_checkpoints, hash_of, step_of
from apollo_ds.checkpoint.progress import Progress
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.errors import UserError
from apollo_ds.growth.state import ShardedState

_Result = TypeVar("_Result")


def save_checkpoint(folder: Path, state: ShardedState, progress: Progress, channel: SideChannel) -> None:
    """Write a checkpoint, all ranks together; it appears under its name only when complete.

    Raises:
        UserError: a rank cannot write. On every rank; what was there before is as it was.
    """
    final = folder / f"step-{progress.totals.step}"
    partial = folder / f"{final.name}{PARTIAL}"
    rank, is_first = channel.processes.rank, channel.processes.is_first
    try:
        on_all_ranks(channel, partial, lambda: _make_empty(partial) if is_first else None)
        hashes = on_all_ranks(channel, partial, lambda: _write_rank(partial / _rank_file(rank), state))
        manifest = {
            "format": FORMAT,
            "course": asdict(progress.course),
            "totals": asdict(progress.totals),
            "counters": asdict(state.counters),
            "metrics_bytes": progress.metrics_bytes,
            "memory": asdict(progress.memory),
            "files": {_rank_file(rank): digest for rank, digest in enumerate(hashes)},
        }
        on_all_ranks(channel, partial, lambda: _complete(partial, final, manifest) if is_first else None)
    except UserError:
        if is_first:
            shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise


def on_all_ranks(channel: SideChannel, path: Path, action: Callable[[], _Result]) -> list[_Result]:
    """The results of an action on all ranks, by rank. If it fails on one rank, every rank raises a `UserError`."""
    result, failure = None, None
    try:
        result = action()
    except (OSError, SafetensorError) as error:
        failure = f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}"
    answers = channel.exchange((result, failure))
    for _, failed in answers:
        if failed:
            raise UserError(f"{failed}; free space or repair the disk, then run the same command to resume")
    return [answer for answer, _ in answers]


def _make_empty(partial: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)


def _complete(partial: Path, final: Path, manifest: dict[str, Any]) -> None:
    """Give a checkpoint its name, then point `latest` at it."""
    _write_durably(partial / "manifest.json", json.dumps(manifest, indent=2))
    _sync_folder(partial)
    if final.exists():
        _remove(final)
    partial.rename(final)
    _sync_folder(final.parent)
    _point_latest_at(final)


def _point_latest_at(checkpoint: Path) -> None:
    partial = checkpoint.with_name("latest.partial")
    _write_durably(partial, checkpoint.name)
    partial.rename(checkpoint.with_name("latest"))


def repair_latest(newest: Path) -> None:
    """Make `latest` name the checkpoint that a run goes on from, if it names another, or one that is gone."""
    latest = newest.with_name("latest")
    if not latest.is_file() or latest.read_text() != newest.name:
        _point_latest_at(newest)


def prune(folder: Path, keep: int, keep_every: int) -> None:
    """Remove all but the newest `keep` checkpoints and those whose step `keep_every` divides (0: none).

    What unfinished ones left goes too.
    """
    for old in complete_checkpoints(folder)[keep:]:
        if not keep_every or step_of(old) % keep_every:
            _remove(old)
    for partial in folder.glob(f"step-*{PARTIAL}"):
        shutil.rmtree(partial)


def _remove(checkpoint: Path) -> None:
    """Take a checkpoint's name away before its files, so that it is never there in part."""
    shutil.rmtree(checkpoint.rename(checkpoint.with_name(f"{checkpoint.name}.removed{PARTIAL}")))


def discard_from(folder: Path, step: int) -> None:
    """Remove the checkpoints of this step and later ones."""
    for late in complete_checkpoints(folder):
        if step_of(late) >= step:
            _remove(late)


def _rank_file(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def _write_rank(path: Path, state: ShardedState) -> str:
    """Write this rank's slices; returns the file's hash."""
    tensors = {f"{name}/{key}": tensor for name, part in state.slices.items() for key, tensor in part.tensors.items()}
    slices = {name: {"shape": part.shape, "start": part.start} for name, part in state.slices.items()}
    save_file(tensors, path, metadata={"slices": json.dumps(slices)})
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return hash_of(path)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
