"""Find the checkpoints in a run's folder, verify them, and pick the newest sound one.

When a run resumes, its ranks choose a checkpoint together (`choose.py`). `newest_sound` serves the other commands, and
finds the checkpoint of a source run. Nothing here imports torch.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path

import xxhash

from apollo_ds.checkpoint.index import Index
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, Manifest, is_checkpoint, read_manifest, step_of

SET_ASIDE = ".damaged"
"""Suffix that the names of damaged checkpoints get, so that they are neither resumed from nor removed."""


def checkpoints_in(folder: Path) -> list[Path]:
    """The folders with the name of a finished checkpoint, newest first. Their contents are not checked."""
    return sorted(filter(is_checkpoint, folder.glob("step-*")), key=step_of, reverse=True)


def has_traces(folder: Path) -> bool:
    """Whether the folder shows that a checkpoint was once finished, even if none is left."""
    aside = any(SET_ASIDE in path.name for path in folder.glob("step-*"))
    return aside or bool(checkpoints_in(folder)) or (folder / "latest").exists()


@dataclass(frozen=True)
class Sound:
    """A checkpoint that has been verified."""

    folder: Path
    manifest: Manifest
    index: Index


def verify(checkpoint: Path, run: str | None = None) -> Sound:
    """Check a checkpoint's manifest, its files' hashes and their layout, and return it.

    Args:
        checkpoint: its folder.
        run: the id of the run that it must belong to, from its config.yaml; None for any run.
    Raises:
        DamagedCheckpoint: it is damaged, or is another run's.
        UserError: a later version wrote it.
    """
    manifest = manifest_of(checkpoint, run)
    names = sorted(manifest.files)
    check_files(checkpoint, names, manifest)
    index = Index.read(checkpoint, names)
    index.check(checkpoint)
    return Sound(checkpoint, manifest, index)


def manifest_of(checkpoint: Path, run: str | None) -> Manifest:
    """Read and check the manifest alone. The arguments are those of `verify`.

    Raises:
        DamagedCheckpoint: it is damaged, or is another run's.
        UserError: a later version wrote it.
    """
    manifest = read_manifest(checkpoint)
    if None not in (run, manifest.run) and manifest.run != run:
        raise DamagedCheckpoint(f"{checkpoint}: is a checkpoint of another run")
    return manifest


def check_files(checkpoint: Path, names: list[str], manifest: Manifest) -> None:
    """Compare some of a checkpoint's files with their hashes.

    Raises:
        DamagedCheckpoint: a file is missing or differs.
    """
    for name in names:
        path = checkpoint / name
        try:
            is_same = path.is_file() and hash_of(path) == manifest.files[name]  # reading a pipe would wait for ever
        except OSError:
            is_same = False
        if not is_same:
            raise DamagedCheckpoint(f"{path}: missing or damaged")


def newest_sound(
    folder: Path, before: float = inf, run: str | None = None, reads_files: bool = True
) -> tuple[Path | None, list[str]]:
    """The newest sound checkpoint of a step below `before`, or None, and what is wrong with each newer one.

    Without `reads_files` only the manifest is checked, not the files.

    Raises:
        UserError: a later version wrote one of them.
    """
    complaints: list[str] = []
    for candidate in checkpoints_in(folder):
        if step_of(candidate) >= before:
            continue
        try:
            verify(candidate, run) if reads_files else manifest_of(candidate, run)
            return candidate, complaints
        except DamagedCheckpoint as damage:
            complaints.append(str(damage))
    return None, complaints


def hash_of(path: Path) -> str:
    """The 128-bit XXH3 hash of a file, in the form that manifests list."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()
