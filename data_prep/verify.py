"""Are the shards those that were written?"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from data_prep import files
from data_prep.errors import DataError

_NOTE = Path("cache", "verified.json")
FORMAT = 1
"""What a folder of shards holds. docs/upgrading.md says which versions write and read which format."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of shards.

    Raises:
        DataError: no such folder, preparation did not finish there, the manifest is damaged or of another format.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(f"{path}: not found: make the shards by apollo-prep build --out {folder}")
    try:
        manifest: dict[str, Any] = files.read_json(path)
        written = manifest.get("format")
    except (ValueError, AttributeError):
        raise DataError(f"{path}: damaged: restore it, or remove {folder} and build again") from None
    if written != FORMAT:
        raise DataError(
            f"{path}: has format {written}, and this version reads format {FORMAT}: use the version that wrote it, "
            "or build the text again in another folder"
        )
    return manifest


def verify(folder: Path) -> None:
    """Check every shard and the tokenizer against the hashes in the manifest, and that megatron-core reads the shards.

    Raises:
        DataError: a file is missing or damaged; the message names it.
    """
    manifest = read_manifest(folder)
    for split in manifest["splits"].values():
        for name, expected in split["files"].items():
            path = folder / name
            if not files.matches(path, expected):
                raise DataError(f"{path}: missing or damaged: restore it, or remove {folder} and build again")
    path = folder / manifest["tokenizer"]["path"] / "tokenizer.json"
    if not path.exists() or files.sha256(path) != manifest["tokenizer"]["sha256"]:
        raise DataError(
            f"{path}: missing or not these shards' tokenizer: restore it, or remove {folder} and build again"
        )
    from data_prep.indexed import open_split  # takes seconds

    for name in manifest["splits"]:
        open_split(folder / name)


def verify_once(folder: Path) -> None:
    """Check as `verify` does, but not again for as long as all files have the sizes and times they then had.

    Where the folder cannot be written to, nothing can be noted, and the check is made each time.

    Raises:
        DataError: a file is missing or damaged; the message names it.
    """
    with suppress(OSError, ValueError):
        if files.read_json(folder / _NOTE) == _stamps(folder):
            return
    verify(folder)
    note_verified(folder)


def note_verified(folder: Path) -> None:
    """Note that the files are sound as they are now, for `verify_once`; nothing where the folder is read-only."""
    with suppress(OSError):
        (folder / _NOTE).parent.mkdir(exist_ok=True)
        files.write_json(folder / _NOTE, _stamps(folder))


def _stamps(folder: Path) -> dict[str, list[int]]:
    """The size in bytes and the time of change in nanoseconds of the manifest and all that it lists."""
    manifest = read_manifest(folder)
    listed = [name for split in manifest["splits"].values() for name in split["files"]]
    names = ["manifest.json", *listed, f"{manifest['tokenizer']['path']}/tokenizer.json"]
    status = {name: (folder / name).stat() for name in names}
    return {name: [s.st_size, s.st_mtime_ns] for name, s in status.items()}
