"""An exported model's manifest.json: the hash of its checkpoint, the hashes of its files, and a hash of itself.

It holds no times and no paths, so two exports of one checkpoint are equal byte for byte. Nothing here imports torch.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_prep import files
from data_prep.manifest import FileEntry, PlainName

NAME = "manifest.json"
CARD = "README.md"
"""The model card, which people may change: no command reads it."""


class DamagedExport(Exception):
    """The files of an exported model differ from what was written. The message names the file."""


class ExportManifest(BaseModel):
    """The contents of an export's manifest.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1, 2] = 2
    """Format 1 has no `card`. docs/reference/upgrading.md says which versions write and read each format."""
    run: str | None
    """The id of the model's run, from its config.yaml; None if the checkpoint does not state it."""
    step: int = Field(ge=0)
    family: str
    tokenizer: str
    """The hash of the text's tokenizer, from the run's config.yaml."""
    checkpoint: str
    """A hash of the hashes of the checkpoint's files. The checkpoint's manifest is left out, since it holds times."""
    files: dict[PlainName, FileEntry] = Field(min_length=1)
    """All files that the export wrote, by name, without this manifest and the model card."""
    card: FileEntry | None = None
    """The model card as it was written; None without a card. A card that differs was changed by a person."""


def read_export_manifest(folder: Path) -> ExportManifest | None:
    """Read the manifest of an exported model.

    Returns None if there is none: an earlier version exported the model, or it comes from elsewhere, perhaps with
    another manifest.json.

    Raises:
        DamagedExport: the manifest cannot be read, differs from its hash, or has a format that this version does not
            know.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        values, is_hashed = files.read_hashed(path)
        if "checkpoint" not in values:  # damage would have taken this key or the hash, not both
            return None
        if not is_hashed:
            raise ValueError("lacks its hash")
        return ExportManifest.model_validate_json(json.dumps(values))
    except (OSError, ValueError):  # a ValidationError is a ValueError
        raise DamagedExport(f"{path}: damaged, or of a later version of apollo_ds") from None


def verify_export(folder: Path) -> ExportManifest | None:
    """Compare every file of an exported model with its hash. Returns the manifest, or None if there is none.

    Raises:
        DamagedExport: a file is missing or differs.
    """
    manifest = read_export_manifest(folder)
    for name, expected in manifest.files.items() if manifest else ():
        path = folder / name
        if not files.matches(path, expected.model_dump()):
            raise DamagedExport(f"{path}: missing or damaged")
    return manifest


def write_export_manifest(folder: Path, **about: Any) -> ExportManifest:
    """Write and return the manifest of a folder. It may hold an exported model and its card, and nothing else."""
    described = {path.name: FileEntry.of(path) for path in sorted(folder.iterdir())}
    manifest = ExportManifest(card=described.pop(CARD, None), files=described, **about)
    files.write_hashed(folder / NAME, manifest.model_dump(mode="json"))
    return manifest
