"""Check that shards are still those that were written."""

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
"""The paths of files, and the manifest's entry for each."""


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
    """Check as `verify` does, but read the tokens only if a shard's size or time has changed since the last check.

    The other files are small, and are compared with their hashes each time. If the folder cannot be written to, the
    last check is not recorded, and everything is checked each time.

    Returns:
        The manifest.
    Raises:
        DataError: a file is missing or damaged. The message names it.
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
    """Check that each file exists and has its recorded size. No file is read.

    Raises:
        DataError: a file is missing or has another size. The message names it.
    """
    for path, file in [*_shards(folder, manifest), *_tokenizer(folder, manifest)]:
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise _damaged(path, folder, manifest)


def note_verified(folder: Path, manifest: Manifest) -> None:
    """Record for `verify_once` that the files, as they are now, have been checked."""
    _note(folder, _stamps(folder, manifest))


def check_tokenizer(folder: Path, manifest: Manifest) -> None:
    """Check that the tokenizer has the files that the manifest lists, and no others.

    Raises:
        DataError: a file is missing, is damaged, or is not listed although `transformers` might read it.
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
    """One sentence if the manifest is so old that it has no hash of itself. None otherwise."""
    if manifest.format != UNHASHED:
        return None
    return (
        f"{folder / NAME}: has no hash of itself, since an earlier version wrote it, so damage in it would go "
        "unnoticed: run the same `apollo-prep build` again, which checks every file and adds it"
    )


def _shards(folder: Path, manifest: Manifest) -> Listed:
    """Every file of the shards. A file in which both splits have documents comes once."""
    places = manifest.places(folder)
    return {places[name]: (places[name], file) for name, file in manifest.shards.items()}.values()


def _tokenizer(folder: Path, manifest: Manifest) -> Listed:
    return [(folder / manifest.tokenizer.path / name, file) for name, file in manifest.tokenizer.files.items()]


def _compare(folder: Path, manifest: Manifest, listed: Listed) -> None:
    for path, file in listed:
        if not files.matches(path, {"bytes": file.bytes, "xxh3": file.xxh3}):
            raise _damaged(path, folder, manifest)


def _open(folder: Path, manifest: Manifest) -> None:
    """Check that the shards can be read. Shards in the folder itself are read with megatron-core."""
    if manifest.is_adopted:
        for split in manifest.splits:
            Shards.open(manifest.pairs(folder, split))
        return
    from data_prep.indexed import open_split  # takes seconds

    for name in manifest.splits:
        open_split(folder / name)


def _damaged(path: Path, folder: Path, manifest: Manifest) -> DataError:
    lies_elsewhere = any(file.location == str(path) for file in manifest.shards.values())
    what = f"missing, or changed since {folder} was made from it" if lies_elsewhere else "missing or damaged"
    return DataError(f"{path}: {what}: restore it, or {_anew(folder, manifest)}")


def _anew(folder: Path, manifest: Manifest) -> str:
    """The advice for a file that cannot be restored."""
    if manifest.is_adopted:
        return f"remove {folder} and run `apollo-prep adopt` again with the shards as they are now"
    return f"remove {folder} and build again"


def _stamps(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """The manifest's hash, and for each shard that exists its size in bytes and its time of change in nanoseconds."""
    status = {name: path.stat() for name, path in manifest.places(folder).items() if path.exists()}
    return {"manifest": manifest.hash, "shards": {name: [s.st_size, s.st_mtime_ns] for name, s in status.items()}}


def _note(folder: Path, stamps: dict[str, Any]) -> None:
    """Record the files that have been checked. In a read-only folder nothing is recorded."""
    with suppress(OSError):
        (folder / _NOTE).parent.mkdir(exist_ok=True)
        files.remove_unfinished(folder / _NOTE)
        files.write_json(folder / _NOTE, stamps)
