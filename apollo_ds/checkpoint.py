"""Checkpoints: a folder with every rank's slices, complete with hashes or not there at all.

checkpoints/step-200/rank-00000.safetensors   one file a rank: its slices of weights and moments
checkpoints/step-200/manifest.json            written last: totals, counters, and the files' hashes
checkpoints/latest                            the name of the newest one
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from apollo_ds.engine.processes import Processes
from apollo_ds.state import Counters, Shape, ShardedState, dtype_of
from apollo_ds.triggers import Evidence

_FORMAT = 2


@dataclass(frozen=True)
class Totals:
    """What a run has used since its first step, across restarts."""

    step: int = 0
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0


@dataclass
class Course:
    """How far a run has come in its schedule, and what has shaped the rest of it."""

    stage: int
    stage_steps: list[int]
    """Steps of each stage, as they were or will be."""
    evidence: Evidence = field(default_factory=Evidence)
    """What the stage has measured for what may end it."""


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be used; the message names the file."""


class SavedState:
    """A state on disk, written by any number of ranks, read by any other number without communication."""

    def __init__(self, folder: Path) -> None:
        manifest = _read_manifest(folder)
        self.totals = Totals(**manifest["totals"])
        course = manifest["course"]
        self.course = Course(**{**course, "evidence": Evidence(**course["evidence"])})
        self.metrics_bytes: int = manifest["metrics_bytes"]
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


def save(
    folder: Path,
    state: ShardedState,
    totals: Totals,
    course: Course,
    metrics_bytes: int,
    processes: Processes,
) -> None:
    """Write a checkpoint, all ranks together; it appears under its name only when complete.

    `metrics_bytes` is the length of the metrics file at this step, to which a resumed run cuts it back.
    """
    final = folder / f"step-{totals.step}"
    partial = folder / f"step-{totals.step}.partial"
    if processes.is_first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    processes.barrier()
    _write_rank(partial / _rank_file(processes.rank), state)
    processes.barrier()
    if processes.is_first:
        names = [_rank_file(rank) for rank in range(processes.world_size)]
        manifest = {
            "format": _FORMAT,
            "course": asdict(course),
            "totals": asdict(totals),
            "counters": asdict(state.counters),
            "metrics_bytes": metrics_bytes,
            "files": {name: _hash(partial / name) for name in names},
        }
        _write_durably(partial / "manifest.json", json.dumps(manifest, indent=2))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _sync_folder(folder)
        _write_durably(folder / "latest.partial", final.name)
        (folder / "latest.partial").rename(folder / "latest")
    processes.barrier()


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what unfinished ones left."""
    for old in complete_checkpoints(folder)[keep:]:
        shutil.rmtree(old)
    for partial in folder.glob("step-*.partial"):
        shutil.rmtree(partial)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    finished = [path for path in folder.glob("step-*") if path.suffix != ".partial"]
    return sorted(finished, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def verify(folder: Path) -> None:
    """Compare every file with its hash.

    Raises:
        DamagedCheckpoint: a file is missing or differs.
    """
    for name, expected in _read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file() or _hash(path) != expected:
            raise DamagedCheckpoint(f"{path}: missing or damaged")


def newest_sound(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and what is wrong with each newer one."""
    complaints: list[str] = []
    for candidate in complete_checkpoints(folder):
        try:
            verify(candidate)
            return candidate, complaints
        except DamagedCheckpoint as damage:
            complaints.append(str(damage))
    return None, complaints


def _rank_file(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def _write_rank(path: Path, state: ShardedState) -> None:
    tensors = {f"{name}/{key}": tensor for name, part in state.slices.items() for key, tensor in part.tensors.items()}
    slices = {name: {"shape": part.shape, "start": part.start} for name, part in state.slices.items()}
    save_file(tensors, path, metadata={"slices": json.dumps(slices)})
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        raise DamagedCheckpoint(f"{path}: missing or damaged") from None


def _hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
