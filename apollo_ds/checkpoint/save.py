"""Write checkpoints. Each is a folder with the slices of all ranks, and appears only when it is complete.

checkpoints/step-200/rank-00000.safetensors   one file a rank: its slices of weights and moments
checkpoints/step-200/manifest.json            written last: totals, counters, and the files' hashes (`manifest.py`)
checkpoints/latest                            the name of the newest one, for people to read; the code never reads it
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import save_file

from apollo_ds.checkpoint.find import hash_of
from apollo_ds.checkpoint.manifest import FORMAT, Manifest, rank_file, write_manifest
from apollo_ds.checkpoint.progress import Progress
from apollo_ds.checkpoint.prune import PARTIAL, discard, set_aside
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.errors import UserError
from apollo_ds.growth.state import ShardedState
from data_prep import files

_Result = TypeVar("_Result")


def save_checkpoint(folder: Path, state: ShardedState, progress: Progress, run: str, channel: SideChannel) -> Path:
    """Write a checkpoint, and return its path. All ranks call it together.

    The checkpoint gets its name when the folder is complete.

    Args:
        folder: where the run's checkpoints are.
        state: this rank's slices.
        progress: the state's place in the run.
        run: the id of the run.
        channel: the connection by which the ranks talk.
    Raises:
        UserError: a rank cannot write. Every rank raises it, and earlier checkpoints are unchanged.
    """
    final = folder / f"step-{progress.totals.step}"
    partial = folder / f"{final.name}{PARTIAL}"
    rank, is_first = channel.processes.rank, channel.processes.is_first
    try:
        on_all_ranks(channel, partial, lambda: _make_empty(partial) if is_first else None)
        hashes = on_all_ranks(channel, partial, lambda: _write_rank(partial / rank_file(rank), state))
        manifest = Manifest(
            format=FORMAT,
            course=progress.course,
            totals=progress.totals,
            counters=state.counters,
            metrics_bytes=progress.metrics_bytes,
            metrics_hash=progress.metrics_hash,
            memory=progress.memory,
            run=run,
            files={rank_file(rank): digest for rank, digest in enumerate(hashes)},
        )
        on_all_ranks(channel, partial, lambda: _complete(partial, final, manifest) if is_first else None)
    except UserError:
        if is_first:
            with suppress(OSError):
                discard(partial)  # so that a full disk has room again
        raise
    return final


def on_all_ranks(channel: SideChannel, path: Path, action: Callable[[], _Result]) -> list[_Result]:
    """Run an action on all ranks, and return their results by rank.

    Raises:
        UserError: the action failed on some rank. Every rank raises it.
    """
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
    discard(partial)
    partial.mkdir(parents=True)


def _complete(partial: Path, final: Path, manifest: Manifest) -> None:
    """Give a checkpoint its name, then point `latest` at it."""
    write_manifest(partial, manifest)
    if final.exists() or final.is_symlink():
        set_aside(final)  # not written by this run, which saves each step once
    partial.rename(final)
    files.sync(final.parent)
    point_latest_at(final)


def point_latest_at(newest: Path) -> None:
    """Write a checkpoint's name into `latest`, unless it is there already.

    Raises:
        OSError: it cannot be written.
    """
    latest = newest.with_name("latest")
    if latest.is_dir() and not latest.is_symlink():
        set_aside(latest)
    with suppress(OSError):
        if latest.read_bytes() == newest.name.encode() and not latest.is_symlink():
            return
    files.write_text(latest, newest.name)


def _write_rank(path: Path, state: ShardedState) -> str:
    """Write this rank's slices; returns the file's hash."""
    tensors = {f"{name}/{key}": tensor for name, part in state.slices.items() for key, tensor in part.tensors.items()}
    slices = {name: {"shape": part.shape, "start": part.start} for name, part in state.slices.items()}
    save_file(tensors, path, metadata={"slices": json.dumps(slices)})
    files.let_others_read(path)
    files.sync(path)
    return hash_of(path)
