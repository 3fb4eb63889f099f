"""The checkpoints in a run's folder: which there are, which are whole, and which one is resumed.

Each rank decides by `newest_sound`: `Trainer._newest_checkpoint` when a run starts or goes on, `plan_rollback` when it
goes back, and `read_source` when another run starts from it. Nothing here imports torch.
"""

import json
from math import inf
from pathlib import Path
from typing import Any

import xxhash

from apollo_ds.errors import UserError

FORMAT = 2
"""What a checkpoint's files hold. docs/upgrading.md says which versions write and read which format."""
PARTIAL = ".partial"
"""Suffix of the names of incomplete files and folders."""


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be used; the message names the file."""


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(checkpoint.name.removeprefix("step-"))


def complete_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    finished = [path for path in folder.glob("step-*") if path.suffix != PARTIAL]
    return sorted(finished, key=step_of, reverse=True)


def verify(folder: Path) -> None:
    """Compare every file with its hash.

    Raises:
        DamagedCheckpoint: a file is missing or differs.
    """
    for name, expected in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file() or hash_of(path) != expected:
            raise DamagedCheckpoint(f"{path}: missing or damaged")


def newest_sound(folder: Path, before: float = inf) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint of a step below `before`, and what is wrong with each newer one."""
    complaints: list[str] = []
    for candidate in complete_checkpoints(folder):
        if step_of(candidate) >= before:
            continue
        try:
            verify(candidate)
            return candidate, complaints
        except DamagedCheckpoint as damage:
            complaints.append(str(damage))
    return None, complaints


def read_manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest: totals, counters, and the files with their hashes.

    Raises:
        DamagedCheckpoint: the manifest is missing or is not JSON.
        UserError: another version wrote it in a format that this one does not read.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        written = manifest.get("format")
    except (OSError, ValueError, AttributeError):
        raise DamagedCheckpoint(f"{path}: missing or damaged") from None
    if written != FORMAT:
        raise UserError(
            f"{path}: has format {written}, and this version of apollo_ds reads format {FORMAT}; "
            "use the version that the run's config.yaml names, or another folder with out=..."
        )
    return manifest


def hash_of(path: Path) -> str:
    """The hash of a file, as manifests list it."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()
