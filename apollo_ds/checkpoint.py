"""Checkpoints: a folder with every rank's slices, complete with hashes or not there at all.

checkpoints/step-200/rank-00000.safetensors   one file a rank: its slices of weights and moments
checkpoints/step-200/manifest.json            written last: totals, counters, and the files' hashes
checkpoints/latest                            the name of the newest one
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from apollo_ds.checkpoint_files import (
    PARTIAL,
    DamagedCheckpoint,
    Totals,
    complete_checkpoints,
    hash_of,
    read_manifest,
    step_of,
    verify,
)
from apollo_ds.divergence import Memory
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.errors import UserError
from apollo_ds.source_run import SourceRun
from apollo_ds.state import Counters, Shape, ShardedState, dtype_of
from apollo_ds.triggers import Evidence

_FORMAT = 2
_Result = TypeVar("_Result")


@dataclass
class Course:
    """How far a run has come in its schedule, and what has shaped the rest of it."""

    stage: int
    stage_steps: list[int]
    """Steps of each stage, as they were or will be."""
    evidence: Evidence = field(default_factory=Evidence)
    """What the stage has measured for what may end it."""


class SavedState:
    """A state on disk, written by any number of ranks, read by any other number without communication."""

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        self.totals = Totals(**manifest["totals"])
        course = manifest["course"]
        self.course = Course(**{**course, "evidence": Evidence(**course["evidence"])})
        self.metrics_bytes: int = manifest["metrics_bytes"]
        self.memory = Memory(**manifest.get("memory", {}))
        counters = manifest["counters"]
        self.counters = Counters(**{**counters, "births": tuple(counters["births"])})
        self.saved_by: int = len(manifest["files"])
        self._files = [safe_open(folder / name, framework="pt") for name in manifest["files"]]
        self._slices: list[dict[str, Any]] = [json.loads(file.metadata()["slices"]) for file in self._files]

    def names(self) -> Iterator[str]:
        """See `State`."""
        return iter(self._slices[0])

    def shape(self, name: str) -> Shape:
        """See `State`."""
        return tuple(self._slices[0][name]["shape"])

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """See `State`."""
        shape = self.shape(name)
        whole = torch.zeros(torch.Size(shape).numel(), dtype=dtype_of(tensor))
        for file, slices in zip(self._files, self._slices, strict=True):
            if f"{name}/{tensor}" not in file.keys():  # noqa: SIM118 - not a dictionary
                continue  # what was frozen has a weight only
            part = file.get_tensor(f"{name}/{tensor}")
            whole.narrow(0, slices[name]["start"], part.numel()).copy_(part)
        return whole.view(shape).to(device)

    def release(self, name: str, tensor: str) -> None:
        """See `State`; the files are not in memory."""


def state_of(source: SourceRun) -> SavedState:
    """The state that a source has come to.

    Raises:
        UserError: its checkpoint is damaged or gone.
    """
    try:
        verify(source.checkpoint)
    except DamagedCheckpoint as damage:
        raise UserError(f"method.source: {damage}; restore it, or begin again in another folder with out=...") from None
    return SavedState(source.checkpoint)


@dataclass(frozen=True)
class Position:
    """Where in a run a state belongs."""

    totals: Totals
    course: Course
    metrics_bytes: int
    """Length of the metrics file at this step, to which a resumed run cuts it back."""
    memory: Memory
    """What the watch over the loss remembers."""


def save(folder: Path, state: ShardedState, position: Position, channel: SideChannel) -> None:
    """Write a checkpoint, all ranks together; it appears under its name only when complete.

    Raises:
        UserError: a rank cannot write. On every rank; what was there before is as it was.
    """
    final = folder / f"step-{position.totals.step}"
    partial = folder / f"{final.name}{PARTIAL}"
    rank, is_first = channel.processes.rank, channel.processes.is_first
    try:
        together(channel, partial, lambda: _make_empty(partial) if is_first else None)
        hashes = together(channel, partial, lambda: _write_rank(partial / _rank_file(rank), state))
        manifest = {
            "format": _FORMAT,
            "course": asdict(position.course),
            "totals": asdict(position.totals),
            "counters": asdict(state.counters),
            "metrics_bytes": position.metrics_bytes,
            "memory": asdict(position.memory),
            "files": {_rank_file(rank): digest for rank, digest in enumerate(hashes)},
        }
        together(channel, partial, lambda: _complete(partial, final, manifest) if is_first else None)
    except UserError:
        if is_first:
            shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise


def together(channel: SideChannel, path: Path, action: Callable[[], _Result]) -> list[_Result]:
    """What an action gives on each rank; where it fails on any, all of them raise."""
    result, failure = None, None
    try:
        result = action()
    except (OSError, SafetensorError) as error:
        failure = f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}"
    answers = channel.exchange((result, failure))
    for _, failed in answers:
        if failed:
            raise UserError(
                f"{failed}; make room or repair it, then give the same command to go on from the checkpoint before"
            )
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
