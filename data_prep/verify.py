"""Are the shards those that were written?"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from data_prep import files
from data_prep.errors import DataError
from data_prep.manifest import NAME, UNHASHED, FileEntry, Manifest, read_manifest
from data_prep.shards import Shards

_NOTE = Path("cache", "verified.json")

Listed: TypeAlias = Iterable[tuple[Path, FileEntry]]
"""Files, and what the manifest says of each."""


def verify(folder: Path) -> Manifest:
    """Check every file against its hash, and that megatron-core reads the shards.

    Returns:
        The manifest.
    Raises:
        DataError: a file is missing or damaged; the message names it.
    """
    manifest = read_manifest(folder)
    stamps = _stamps(folder, manifest)
    _compare(folder, manifest, _shards(folder, manifest))
    check_tokenizer(folder, manifest)
    _open(folder, manifest)
    _note(folder, stamps)
    return manifest


def verify_once(folder: Path) -> Manifest:
    """Check as `verify` does, but not the tokens again while the shards have the sizes and times they then had.

    All else is small, and is compared with its hashes each time. Where the folder cannot be written to, nothing can be
    noted, and the whole check is made each time.

    Returns:
        The manifest.
    Raises:
        DataError: a file is missing or damaged; the message names it.
    """
    manifest = read_manifest(folder)
    with suppress(OSError, ValueError):
        if files.read_json(folder / _NOTE) == _stamps(folder, manifest):
            indexes = [(path, file) for path, file in _shards(folder, manifest) if path.suffix == ".idx"]
            _compare(folder, manifest, indexes)
            check_tokenizer(folder, manifest)
            return manifest
    return verify(folder)


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Check that each file is there with its size in bytes, and read none of them.

    Raises:
        DataError: one is missing or of another size; names it.
    """
    for path, file in [*_shards(folder, manifest), *_tokenizer(folder, manifest)]:
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise _damaged(path, folder, manifest)


def note_verified(folder: Path, manifest: Manifest) -> None:
    """Note that the files are sound as they are now, for `verify_once`."""
    _note(folder, _stamps(folder, manifest))


def check_tokenizer(folder: Path, manifest: Manifest) -> None:
    """Check that the files of the tokenizer are those that are listed, and no others.

    Raises:
        DataError: one is missing, damaged, or not listed, though `transformers` might read it.
    """
    path = folder / manifest.tokenizer_json
    if not path.is_file() or files.sha256(path) != manifest.tokenizer.sha256:
        raise DataError(f"{path}: missing or not these shards' tokenizer: restore it, or {_anew(folder, manifest)}")
    if manifest.format == UNHASHED:
        return
    _compare(folder, manifest, _tokenizer(folder, manifest))
    for other in sorted(path.parent.iterdir()):
        if other.name not in manifest.tokenizer.files and not other.name.startswith("."):
            raise DataError(f"{other}: not a file of these shards' tokenizer: move it to another place")


def told_of_no_hash(folder: Path, manifest: Manifest) -> str | None:
    """One sentence where the manifest is of before it had a hash."""
    if manifest.format != UNHASHED:
        return None
    return (
        f"{folder / NAME}: has no hash of itself, since an earlier version wrote it, so damage in it would go "
        "unnoticed: run the same `apollo-prep build` again, which checks every file and adds it"
    )


def _shards(folder: Path, manifest: Manifest) -> Listed:
    """Every file of the shards once, also where both splits have documents in it."""
    places = manifest.places(folder)
    return {places[name]: (places[name], file) for name, file in manifest.shards.items()}.values()


def _tokenizer(folder: Path, manifest: Manifest) -> Listed:
    return [(folder / manifest.tokenizer.path / name, file) for name, file in manifest.tokenizer.files.items()]


def _compare(folder: Path, manifest: Manifest, listed: Listed) -> None:
    for path, file in listed:
        if not files.matches(path, {"bytes": file.bytes, "xxh3": file.xxh3}):
            raise _damaged(path, folder, manifest)


def _open(folder: Path, manifest: Manifest) -> None:
    """Check that the shards can be read, by megatron-core where the whole of them is here."""
    if manifest.is_adopted:
        for split in manifest.splits:
            Shards.open(manifest.pairs(folder, split))
        return
    from data_prep.indexed import open_split  # takes seconds

    for name in manifest.splits:
        open_split(folder / name)


def _damaged(path: Path, folder: Path, manifest: Manifest) -> DataError:
    lies_elsewhere = any(file.location == str(path) for file in manifest.shards.values())
    what = f"missing, or not as it was when {folder} was made of it" if lies_elsewhere else "missing or damaged"
    return DataError(f"{path}: {what}: restore it, or {_anew(folder, manifest)}")


def _anew(folder: Path, manifest: Manifest) -> str:
    """What to do about a file that cannot be restored."""
    if manifest.is_adopted:
        return f"remove {folder} and run `apollo-prep adopt` again with the shards as they are now"
    return f"remove {folder} and build again"


def _stamps(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """The manifest's hash, and the size in bytes and the time of change in nanoseconds of each shard that is there."""
    status = {name: path.stat() for name, path in manifest.places(folder).items() if path.exists()}
    return {"manifest": manifest.hash, "shards": {name: [s.st_size, s.st_mtime_ns] for name, s in status.items()}}


def _note(folder: Path, stamps: dict[str, Any]) -> None:
    """Note what was found sound; nothing where the folder is read-only."""
    with suppress(OSError):
        (folder / _NOTE).parent.mkdir(exist_ok=True)
        files.remove_unfinished(folder / _NOTE)
        files.write_json(folder / _NOTE, stamps)
