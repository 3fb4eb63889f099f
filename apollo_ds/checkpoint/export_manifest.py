"""An exported model's manifest.json: which checkpoint it is of, and the hashes of its files, with one of itself.

It holds no times and no paths: exports of one checkpoint are the same, byte for byte. Nothing here imports torch.
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
    """An exported model that is not what was written; the message names the file."""


class ExportManifest(BaseModel):
    """What an export says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1, 2] = 2
    """docs/reference/upgrading.md says which versions write and read which format. The first has no `card`."""
    run: str | None
    """Which run the model is of, as its config.yaml has it; None for a checkpoint that does not say."""
    step: int = Field(ge=0)
    family: str
    tokenizer: str
    """The hash of the text's tokenizer, as the run's config.yaml has it."""
    checkpoint: str
    """A hash of the hashes of the checkpoint's files; its manifest has times, which differ from run to run."""
    files: dict[PlainName, FileEntry] = Field(min_length=1)
    """By name: all that the export wrote beside this manifest and the model card."""
    card: FileEntry | None = None
    """The model card as it was written; None where there was none. It tells a card that somebody changed since."""


def read_export_manifest(folder: Path) -> ExportManifest | None:
    """The manifest of an exported model.

    None where there is none: an earlier version exported the model, or it comes from elsewhere, perhaps with a file of
    the same name.

    Raises:
        DamagedExport: it cannot be read, differs from its hash, or is none that this version knows.
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
    """Compare every file of an exported model with its hash; None where there is no manifest, as above.

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
    """Write and return the manifest of a folder that holds an exported model, perhaps its card, and nothing else."""
    described = {path.name: FileEntry.of(path) for path in sorted(folder.iterdir())}
    manifest = ExportManifest(card=described.pop(CARD, None), files=described, **about)
    files.write_hashed(folder / NAME, manifest.model_dump(mode="json"))
    return manifest
