"""Which of its checkpoints a run goes on from: decided once, on the first rank, and told to the others.

The first rank reads the manifests; all ranks together hash the files, each its share.
"""

import socket
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

from apollo_ds.checkpoint.coverage import check_coverage
from apollo_ds.checkpoint.find import check_files, checkpoints_in, has_traces, manifest_of
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, Manifest, step_of
from apollo_ds.checkpoint.prune import set_aside
from apollo_ds.checkpoint.save import point_latest_at
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.schedule.source_run import SourceRun


@dataclass(frozen=True)
class Choice:
    """A sound checkpoint, as all ranks see it."""

    folder: Path
    manifest: Manifest
    complaints: tuple[str, ...]
    """What was wrong with each newer one."""

    @property
    def doubt(self) -> str:
        """What can be wrong with it without being noticed; empty if nothing can."""
        if self.manifest.is_hashed:
            return ""
        return (
            f"{self.folder}/manifest.json: an earlier version wrote it, without a hash of itself, so that damage to it "
            "can go unnoticed; the next checkpoint has one"
        )


def choose_checkpoint(folder: Path, run: str, processes: Processes, before: float = inf) -> Choice | None:
    """The newest sound checkpoint of a step below `before`; None if there never was one. All ranks together.

    Newer ones that are damaged are set aside, so that the next ones take no account of them.

    Args:
        folder: where the run's checkpoints are.
        run: which run they must be of, as its config.yaml has it.
        processes: all ranks.
        before: the step that it must be below.
    Raises:
        UserError: there are checkpoints but none is sound, a later version wrote one, or a rank cannot read what others
            can. On every rank.
    """
    complaints: list[str] = []
    for candidate in processes.on_first(lambda: checkpoints_in(folder)):
        if step_of(candidate) >= before:
            continue
        manifest, complaint = examine(candidate, run, processes)
        if manifest and not complaint:
            processes.on_first(partial(_tidy, folder, candidate, before))
            return Choice(candidate, manifest, tuple(complaints))
        complaints.append(complaint)
    _refuse_to_begin_anew(folder, complaints, processes, before)
    return None


def source_state(source: SourceRun, processes: Processes) -> SavedState:
    """The state that a source run has come to. All ranks together.

    Raises:
        UserError: its checkpoint is damaged or gone; on every rank.
    """
    manifest, complaint = examine(source.checkpoint, None, processes)
    if complaint:
        raise UserError(f"method.source: {complaint}; restore it, or begin again in another folder with out=...")
    return SavedState(source.checkpoint, manifest)


def examine(checkpoint: Path, run: str | None, processes: Processes) -> tuple[Manifest | None, str]:
    """A checkpoint's manifest and, if it is not sound, what is wrong with it. All ranks together.

    Args:
        checkpoint: its folder.
        run: which run it must be of; None: any.
        processes: all ranks.
    Returns:
        The manifest, or None, and an empty text, or a complaint.
    Raises:
        UserError: a later version wrote it, or a rank cannot read what others can. On every rank.
    """

    def read() -> tuple[Manifest | None, str]:
        try:
            manifest = manifest_of(checkpoint, run)
            check_coverage(checkpoint, manifest)
        except DamagedCheckpoint as damage:
            return None, str(damage)
        return manifest, ""

    manifest, complaint = processes.on_first(read)
    if manifest is None:
        return manifest, complaint
    share = list(manifest.files)[processes.rank :: processes.world_size]
    complaints = processes.of_all(_complaint(checkpoint, share, manifest))
    rank = next((rank for rank, complaint in enumerate(complaints) if complaint), None)
    if rank is None:
        return manifest, ""
    theirs = list(manifest.files)[rank :: processes.world_size]
    if rank and not processes.on_first(lambda: _complaint(checkpoint, theirs, manifest)):
        hosts = processes.of_all(socket.gethostname())
        raise UserError(
            f"{complaints[rank]}: so rank {rank} on {hosts[rank]} finds it, but rank 0 on {hosts[0]} finds it sound; "
            f"see that {hosts[rank]} has the same files, then run the same command to resume"
        )
    return None, complaints[rank]


def _complaint(checkpoint: Path, names: list[str], manifest: Manifest) -> str:
    """What is wrong with some of the files, as this rank sees it; empty if nothing is."""
    absent = [name for name in manifest.files if not (checkpoint / name).is_file()]  # this rank will read all of them
    try:
        check_files(checkpoint, absent or names, manifest)
    except DamagedCheckpoint as damage:
        return str(damage)
    return ""


def _tidy(folder: Path, chosen: Path, before: float) -> None:
    """Set newer ones aside, which are damaged, and let `latest` name the one that was chosen."""
    for checkpoint in checkpoints_in(folder):
        if step_of(chosen) < step_of(checkpoint) < before:
            set_aside(checkpoint)
    point_latest_at(chosen)


def _refuse_to_begin_anew(folder: Path, complaints: list[str], processes: Processes, before: float) -> None:
    is_left = processes.on_first(lambda: bool(complaints) or (before == inf and has_traces(folder)))
    if is_left:
        raise UserError(
            f"{folder}: has no sound checkpoint ({'; '.join(complaints) or 'only what is left of damaged ones'}), and "
            "the run would begin anew over what is left of it; restore one, or use another folder with out=..."
        )
