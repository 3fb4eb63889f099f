"""A checkpoint's manifest.json: its place in the run, the hashes of its files, and a hash of itself.

Nothing here imports torch.
"""

import json
import re
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from apollo_ds.checkpoint.progress import Course, LossMemory
from apollo_ds.errors import UserError
from apollo_ds.growth.counters import Counters
from apollo_ds.schedule.totals import Totals
from data_prep import files

FORMAT: Final = 4
"""The format of checkpoints. docs/reference/upgrading.md says which versions write and read each format."""
_UNHASHED = 2
NAME = "manifest.json"
_STEP = re.compile(r"step-(0|[1-9][0-9]*)")


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be used; the message names the file."""


class Manifest(BaseModel):
    """The contents of a checkpoint's manifest.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[2, 3, 4]
    """Earlier versions wrote formats 2 and 3. Format 2 has no hash of the manifest, so damage to it could go unnoticed.
    Format 3 does not name the optimizer, which was always AdamW."""
    course: Course
    totals: Totals
    counters: Counters
    metrics_bytes: int = Field(ge=0)
    metrics_hash: str | None = None
    """The 128-bit XXH3 hash of the first `metrics_bytes` bytes of metrics.jsonl; None in format 2."""
    memory: LossMemory = Field(default_factory=LossMemory)
    run: str | None = None
    """The id of the run, from its config.yaml; None in format 2."""
    files: dict[str, str] = Field(min_length=1)
    """The hash of each rank's file, by name."""

    @property
    def is_hashed(self) -> bool:
        """Whether the manifest has a hash of itself."""
        return self.format != _UNHASHED

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if set(self.files) != {rank_file(rank) for rank in range(len(self.files))}:
            raise ValueError("files: not one of each rank")
        if not 0 <= self.course.stage < len(self.course.stage_steps):
            raise ValueError("course: no such stage")
        counts = [*self.course.stage_steps, self.totals.step, self.totals.tokens]
        if min(counts) < 0:
            raise ValueError("a count below 0")
        if self.is_hashed and None in (self.metrics_hash, self.run):
            raise ValueError("from format 3 on it says of which run and metrics it is")
        return self


def rank_file(rank: int) -> str:
    """The name of a rank's file."""
    return f"rank-{rank:05d}.safetensors"


def is_checkpoint(path: Path) -> bool:
    """Whether a path has a checkpoint's name, such as `step-200`, and is a folder."""
    return _STEP.fullmatch(path.name) is not None and path.is_dir()


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written, from its folder's name."""
    return int(checkpoint.name.removeprefix("step-"))


def read_manifest(checkpoint: Path) -> Manifest:
    """Read a checkpoint's manifest.

    Raises:
        DamagedCheckpoint: it is missing, differs from its hash, holds a value that is not valid, or is of another step
            than its folder's name says.
        UserError: a later version wrote it.
    """
    path = checkpoint / NAME
    try:
        values, is_hashed = files.read_hashed(path)
        _refuse_later_format(path, values, is_hashed)
        manifest = Manifest.model_validate_json(json.dumps(values))
    except (OSError, ValueError):  # a ValidationError is a ValueError
        raise DamagedCheckpoint(f"{path}: missing or damaged") from None
    if manifest.is_hashed != is_hashed:
        raise DamagedCheckpoint(f"{path}: damaged; only format {_UNHASHED} has no hash of itself")
    if manifest.totals.step != step_of(checkpoint):
        raise DamagedCheckpoint(f"{path}: is of step {manifest.totals.step}, but its folder's name has another")
    return manifest


def _refuse_later_format(path: Path, values: dict[str, Any], is_hashed: bool) -> None:
    written = values.get("format")
    if is_hashed and isinstance(written, int) and written > FORMAT:
        raise UserError(
            f"{path}: has format {written}, and this version of apollo_ds reads formats up to {FORMAT}; "
            "use the version that the run's config.yaml names, or another folder with out=..."
        )


def write_manifest(checkpoint: Path, manifest: Manifest) -> None:
    """Write a checkpoint's manifest, with a hash of itself."""
    files.write_hashed(checkpoint / NAME, manifest.model_dump(mode="json"))
