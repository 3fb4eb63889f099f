"""Find shards that Megatron-LM, NeMo or gpt-neox wrote, and check their indexes. The shards are never changed."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.errors import DataError
from data_prep.manifest import NAME
from data_prep.shards import HEADER, MAGIC, TOKEN_TYPES, TokenType, index_bytes

_OLD_MAGIC = b"TNTIDX\0\0"
_FLOATS = (6, 7)
_LONGEST_DOCUMENT = 2**31 - 1

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ForeignShard:
    """A file of tokens, and where its documents start and end in it, shape (documents,). Empty ones are left out."""

    index: Path
    path: Path
    dtype: TokenType
    starts: Places
    ends: Places
    empty: int

    @property
    def tokens(self) -> npt.NDArray[np.integer]:
        """All tokens, mapped into memory, shape (tokens,)."""
        return np.memmap(self.path, self.dtype, "r")


def find(given: Iterable[str]) -> list[Path]:
    """The prefixes of the given shards, in order. A folder stands for all shards in it, at any depth.

    Raises:
        DataError: there is no shard, one of its two files is missing, or a shard is named twice.
    """
    found: dict[Path, Path] = {}
    for name in given:
        path = Path(os.path.abspath(name))
        if os.path.lexists(path / NAME):
            raise DataError(
                f"{path}: has a {NAME}, so it is prepared text already: give it as data=, or name its shards"
            )
        for prefix in _below(path) if path.is_dir() else [_named(path)]:
            if (other := found.setdefault(_beside(prefix, ".bin").resolve(), prefix)) is not prefix:
                raise DataError(f"{prefix}: is the same shard as {other}: name it once")
    return list(found.values())


def open_shard(prefix: Path) -> ForeignShard:
    """Read the index of a shard through megatron-core, and check that it describes every token.

    The sequences of a document, such as its sentences, are joined to one.

    Raises:
        DataError: the index is damaged, of another kind, or does not fit the tokens.
    """
    index, path = _beside(prefix, ".idx"), _beside(prefix, ".bin")
    dtype = _check_header(index)
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: holds no tokens: leave this shard out")
    from data_prep.indexed import Split  # takes seconds

    in_part = DataError(f"{index}: its documents do not cover its sequences, each once: preprocess the text again")
    try:
        split = Split(str(prefix))
    except (AssertionError, IndexError):
        raise in_part from None
    sequences, documents = split.sequence_lengths.astype(np.int64), split.document_indices
    bounds = np.append(0, np.cumsum(sequences))
    item = np.dtype(dtype).itemsize
    if (sequences < 0).any() or bounds[-1] * item != size:
        raise DataError(f"{index}: its sequences do not add up to the {size:,} bytes of {path.name}: restore both")
    if not np.array_equal(split.index.sequence_pointers, bounds[:-1] * item):
        raise DataError(f"{index}: its sequences do not lie end to end in {path.name}: restore both")
    if documents[0] != 0 or (np.diff(documents) < 0).any():
        raise in_part
    starts, ends = bounds[documents[:-1]], bounds[documents[1:]]
    longest = int((ends - starts).max())
    if longest > _LONGEST_DOCUMENT:
        raise DataError(
            f"{index}: has a document of {longest:,} tokens, and at most {_LONGEST_DOCUMENT:,} are allowed: cut it"
        )
    kept = ends > starts
    return ForeignShard(index, path, dtype, starts[kept], ends[kept], empty=int((~kept).sum()))


def _below(folder: Path) -> list[Path]:
    """The prefixes of all shards below a folder, in the order of their names."""
    indexes = [
        Path(parent, name)
        for parent, folders, names in os.walk(folder)
        for name in names
        if name.endswith(".idx") and not name.startswith(".") and not _is_hidden(Path(parent).relative_to(folder))
    ]
    if not indexes:
        raise DataError(f"{folder}: holds no shard, such as NAME_text_document.idx and .bin: name another folder")
    return [_named(index.with_suffix("")) for index in sorted(indexes)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _named(path: Path) -> Path:
    """The prefix of a shard. The user may name the prefix, or one of its two files."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{str(path)!a} is not UTF-8: rename the file or folder") from None
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    there = [suffix for suffix in (".bin", ".idx") if _beside(prefix, suffix).is_file()]
    if not there:
        raise DataError(f"{path}: no shard there: name a folder of shards, or a shard as PREFIX of PREFIX.bin and .idx")
    if len(there) == 1:
        (missing,) = {".bin", ".idx"} - set(there)
        raise DataError(f"{prefix}{missing}: missing beside {prefix.name}{there[0]}: restore it, or leave both out")
    return prefix


def _beside(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def _check_header(index: Path) -> TokenType:
    """Check the header of an index, and return the type of a token.

    Raises:
        DataError: the file is not an index of sequences of integers, or is cut short.
    """
    size = index.stat().st_size
    with index.open("rb") as file:
        header = file.read(HEADER.size)
    if header.startswith(_OLD_MAGIC):
        raise DataError(
            f"{index}: is an index of the older kind TNTIDX (`lazy` or `cached`), which cannot be read: preprocess the "
            "text again with --dataset-impl mmap"
        )
    if not header.startswith(MAGIC):
        raise DataError(f"{index}: is not an index of Megatron's (it does not begin with MMIDIDX): leave it out")
    if len(header) < HEADER.size:
        raise DataError(f"{index}: is cut short: restore it")
    _, version, code, sequences, documents = HEADER.unpack(header)
    if version != 1:
        raise DataError(
            f"{index}: is version {version} of Megatron's index, and only version 1 can be read: write it as version 1"
        )
    if code in _FLOATS:
        raise DataError(f"{index}: holds floating-point numbers, not tokens: leave it out")
    if code not in TOKEN_TYPES:
        raise DataError(f"{index}: holds numbers of a type {code} that Megatron's index does not have: restore it")
    expected = index_bytes(sequences, documents)
    if size == expected + sequences and sequences:
        raise DataError(f"{index}: is of a multimodal data set (each sequence has a mode), not of text: leave it out")
    if size != expected:
        raise DataError(f"{index}: has {size:,} bytes, not the {expected:,} that its header tells: restore it")
    if not sequences:
        raise DataError(f"{index}: holds no documents: leave this shard out")
    return TOKEN_TYPES[code]
