"""The checkpoints in a run's folder: which there are, which are sound, and which is the newest of these.

A run's own are chosen by all of its ranks together (`choose.py`). `newest_sound` is for other commands and for the run
that another one starts from. Nothing here imports torch.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path

import xxhash

from apollo_ds.checkpoint.index import Index
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, Manifest, is_checkpoint, read_manifest, step_of

SET_ASIDE = ".damaged"
"""Suffix of the names that damaged checkpoints get, so that they are neither resumed nor removed."""


def checkpoints_in(folder: Path) -> list[Path]:
    """Folders with the name of a finished checkpoint, newest first. What is in them may be damaged."""
    return sorted(filter(is_checkpoint, folder.glob("step-*")), key=step_of, reverse=True)


def has_traces(folder: Path) -> bool:
    """Whether there has ever been a finished checkpoint, as far as what is left tells."""
    aside = any(SET_ASIDE in path.name for path in folder.glob("step-*"))
    return aside or bool(checkpoints_in(folder)) or (folder / "latest").exists()


@dataclass(frozen=True)
class Sound:
    """A checkpoint that has been verified."""

    folder: Path
    manifest: Manifest
    index: Index


def verify(checkpoint: Path, run: str | None = None) -> Sound:
    """Check all of a checkpoint.

    Args:
        checkpoint: its folder.
        run: which run it must be of, as the run's config.yaml has it; None: any.
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
    """The same for the manifest alone.

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
            is_same = path.is_file() and hash_of(path) == manifest.files[name]  # a pipe would be waited for
        except OSError:
            is_same = False
        if not is_same:
            raise DamagedCheckpoint(f"{path}: missing or damaged")


def newest_sound(
    folder: Path, before: float = inf, run: str | None = None, reads_files: bool = True
) -> tuple[Path | None, list[str]]:
    """The newest sound checkpoint of a step below `before`, and what is wrong with each newer one.

    Without `reads_files` it is taken at its manifest's word.

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
    """The 128-bit XXH3 hash of a file, as manifests list it."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()
