"""Choose the checkpoint that a run resumes from. The first rank decides, and tells the others.

The first rank reads the manifests. Each rank reads and hashes a share of the files, and tells the others what their
headers say.
"""

import os
import socket
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from apollo_ds.checkpoint.find import Sound, check_files, checkpoints_in, has_traces, manifest_of
from apollo_ds.checkpoint.hf_state import HfState
from apollo_ds.checkpoint.index import FilePart, Index, Shapes, read_header
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, Manifest, step_of
from apollo_ds.checkpoint.prune import set_aside
from apollo_ds.checkpoint.save import point_latest_at
from apollo_ds.checkpoint.saved_state import SavedState, WeightsOnly
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.growth.state import StoredState
from apollo_ds.schedule.source import BranchPoint, Source, SourceModel


@dataclass(frozen=True)
class Choice:
    """A sound checkpoint, as all ranks see it."""

    sound: Sound
    complaints: tuple[str, ...]
    """What is wrong with each newer checkpoint."""

    @property
    def folder(self) -> Path:
        """The checkpoint's folder."""
        return self.sound.folder

    @property
    def manifest(self) -> Manifest:
        """The checkpoint's manifest."""
        return self.sound.manifest

    @property
    def doubt(self) -> str:
        """A warning about damage that could go unnoticed; empty if all damage would be found."""
        if self.manifest.is_hashed:
            return ""
        return (
            f"{self.folder}/manifest.json: an earlier version wrote it without a hash of itself, so damage to it can "
            "go unnoticed; the next checkpoint will have one"
        )


def choose_checkpoint(folder: Path, run: str, processes: Processes, before: float = inf) -> Choice | None:
    """The newest sound checkpoint of a step below `before`; None if there never was one. All ranks together.

    Damaged newer checkpoints are renamed (`step-25.damaged`), so that later searches ignore them.

    Args:
        folder: where the run's checkpoints are.
        run: the id of the run, from its config.yaml. Checkpoints of other runs count as damaged.
        processes: all ranks.
        before: the checkpoint's step must be below this one.
    Raises:
        UserError: there are checkpoints but none is sound, a later version wrote one, or a rank cannot read a file that
            others can read. Every rank raises it.
    """
    complaints: list[str] = []
    for candidate in processes.on_first(lambda: checkpoints_in(folder)):
        if step_of(candidate) >= before:
            continue
        sound, complaint = examine(candidate, run, processes)
        if sound:
            processes.on_first(partial(_tidy, folder, candidate, before))
            return Choice(sound, tuple(complaints))
        complaints.append(complaint)
    _refuse_to_begin_anew(folder, complaints, processes, before)
    return None


def source_state(source: Source | BranchPoint, key: str, keeps_moments: bool, processes: Processes) -> StoredState:
    """Open the training state of the run or model that a run starts from. All ranks call it together.

    Args:
        source: what the run starts from.
        key: the recipe's key that names it.
        keeps_moments: whether to take its optimizer moments over, where it has any.
        processes: all ranks.
    Raises:
        UserError: the source is damaged or gone, or a rank cannot open it. Every rank raises it.
    """
    sound = None if isinstance(source, SourceModel) else _sound(source.checkpoint, key, processes)
    state: SavedState | HfState | None = None
    complaint = ""
    try:
        if isinstance(source, SourceModel):
            state = HfState.open(source).hold()
        elif sound:
            state = SavedState(sound).hold()
    except UserError as error:  # the source run may still train, and may have removed this checkpoint meanwhile
        complaint = str(error)
    complaint = next(filter(None, processes.of_all(complaint)), "")
    if state is None or complaint:
        if state is not None:
            state.close()
        raise UserError(complaint)
    return WeightsOnly(state) if isinstance(state, SavedState) and not keeps_moments else state


def branch_checkpoint(point: BranchPoint, processes: Processes) -> Sound:
    """Verify the checkpoint that a run branches from, and return it. All ranks call it together.

    Raises:
        UserError: it is damaged or gone. Every rank raises it.
    """
    return _sound(point.checkpoint, "branch_from", processes, point.run)


def _sound(checkpoint: Path, key: str, processes: Processes, run: str | None = None) -> Sound:
    sound, complaint = examine(checkpoint, run, processes)
    if sound is None:
        raise UserError(f"{key}: {complaint}; restore it, or begin again in another folder with out=...")
    return sound


def examine(checkpoint: Path, run: str | None, processes: Processes) -> tuple[Sound | None, str]:
    """Verify a checkpoint. All ranks call it together.

    Args:
        checkpoint: its folder.
        run: the id of the run that it must belong to; None for any run.
        processes: all ranks.
    Returns:
        The checkpoint and an empty text, or None and a complaint.
    Raises:
        UserError: a later version wrote it, or a rank cannot read a file that others can read. Every rank raises it.
    """

    def read() -> tuple[Manifest | None, str]:
        try:
            return manifest_of(checkpoint, run), ""
        except DamagedCheckpoint as damage:
            return None, str(damage)

    manifest, complaint = processes.on_first(read)
    if manifest is None:
        return None, complaint
    names = sorted(manifest.files)
    shares = [names[rank :: processes.world_size] for rank in range(processes.world_size)]
    found = processes.of_all(look_at(checkpoint, shares[processes.rank], manifest, processes.is_first))
    rank = next((rank for rank, share in enumerate(found) if share.complaint), None)
    if rank is not None:
        _see_that_all_find_it(checkpoint, rank, shares[rank], found[rank].complaint, manifest, processes)
        return None, found[rank].complaint
    parts = [found[number % len(found)].parts[number // len(found)] for number in range(len(names))]
    index = Index(names, found[0].shapes, parts)
    try:
        index.check(checkpoint)
    except DamagedCheckpoint as damage:
        return None, str(damage)
    return Sound(checkpoint, manifest, index), ""


@dataclass(frozen=True)
class Share:
    """What a rank has found in its share of a checkpoint's files."""

    complaint: str = ""
    """What is wrong with them, as this rank sees it; empty if nothing is."""
    shapes: Shapes = field(default_factory=dict)
    """Filled on the first rank only, since all files state the same shapes."""
    parts: tuple[FilePart, ...] = ()


def look_at(checkpoint: Path, names: list[str], manifest: Manifest, is_first: bool) -> Share:
    """Hash the files of this rank's share, read their headers, and return the result."""
    try:
        there = set(os.listdir(checkpoint))
        absent = [name for name in manifest.files if name not in there]  # this rank may have to read any of them
        check_files(checkpoint, absent or names, manifest)
        headers = [read_header(checkpoint / name) for name in names]
    except DamagedCheckpoint as damage:
        return Share(str(damage))
    except OSError:
        return Share(f"{checkpoint}: missing or damaged")
    return Share(shapes=headers[0][0] if is_first else {}, parts=tuple(part for _, part in headers))


def _see_that_all_find_it(
    checkpoint: Path, rank: int, names: list[str], complaint: str, manifest: Manifest, processes: Processes
) -> None:
    """Let the first rank check the file that another rank complains about.

    Raises:
        UserError: the first rank finds nothing wrong, so the ranks see different files. Every rank raises it.
    """
    if rank and not processes.on_first(lambda: look_at(checkpoint, names, manifest, False).complaint):
        hosts = processes.of_all(socket.gethostname())
        raise UserError(
            f"{complaint}, as rank {rank} on {hosts[rank]} sees it, but rank 0 on {hosts[0]} finds it sound; "
            f"make sure that {hosts[rank]} has the same files, then run the same command to resume"
        )


def _tidy(folder: Path, chosen: Path, before: float) -> None:
    """Rename the newer checkpoints, which are damaged, and point `latest` at the one that was chosen."""
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
