"""Write shards with megatron-core's builder, and check and read them with its reader.

megatron-core imports torch and half of Megatron, which takes seconds. Functions that need this module import it
inside their bodies, so that nothing else waits for it.
"""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep import files
from data_prep.encode import token_dtype
from data_prep.errors import DataError


@contextmanager
def _no_compiler() -> Iterator[None]:
    """Keep megatron-core from compiling functions at import. None of them is called here, and it would take seconds."""
    switch = "TORCHDYNAMO_DISABLE"
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


# The warnings are about missing optional packages, such as apex. Nothing here needs them.
with warnings.catch_warnings(action="ignore"), _no_compiler():
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder


class Split(IndexedDataset):
    """megatron-core's reader of a split. Its arrays are valid only while the split object exists."""

    def __del__(self) -> None:
        with suppress(AttributeError):  # a reader that could not be opened; Python would print the error
            super().__del__()


def open_split(prefix: Path) -> Split:
    """Open `PREFIX.bin` and `PREFIX.idx`. Check that the index fits the tokens, and has one sequence a document.

    Raises:
        DataError: the index is damaged, does not fit the tokens, or has documents of several sequences.
    """
    index, tokens = prefix.with_suffix(".idx"), prefix.with_suffix(".bin")
    mend = f"restore both, or remove {prefix.parent} and build again"
    try:
        split = Split(str(prefix))
    except (AssertionError, IndexError, OSError, OverflowError, ValueError, struct.error) as error:
        raise DataError(f"{index}: missing, damaged, or not an index of Megatron's: {mend}") from error
    dtype = split.index.dtype
    if dtype not in (np.uint16, np.int32):
        raise DataError(f"{index}: tokens of type {dtype.__name__}, not uint16 or int32: {mend}")
    bounds = np.append(0, np.cumsum(split.sequence_lengths, dtype=np.int64)) * np.dtype(dtype).itemsize
    size = tokens.stat().st_size
    is_whole = bounds[-1] == size and np.array_equal(split.index.sequence_pointers, bounds[:-1])
    if not is_whole or (np.diff(bounds) < 1).any():
        raise DataError(f"{index}: its documents do not add up to the {size:,} bytes of {tokens.name}: {mend}")
    if not np.array_equal(split.document_indices, np.arange(len(split) + 1)):
        raise DataError(
            f"{index}: has documents of several sequences, as Megatron's own preprocessing may write: "
            "build the text into another folder by apollo-prep build"
        )
    return split


class ShardWriter:
    """Writes a split, one document after the other."""

    def __init__(self, prefix: Path, vocab_size: int) -> None:
        self.prefix = prefix
        self.builder = IndexedDatasetBuilder(str(prefix.with_suffix(".bin")), token_dtype(vocab_size))

    def add(self, tokens: npt.NDArray[Any], ends: npt.NDArray[np.int64], copies: npt.NDArray[np.int64]) -> None:
        """Write the documents of a part, each as often as `copies` says. `ends` has the end of each in `tokens`."""
        tokens = np.asarray(tokens)  # plain arrays slice faster than mapped ones
        starts = np.concatenate([[0], ends[:-1]])
        chosen = np.repeat(np.arange(len(ends)), copies)
        for start, end in zip(starts[chosen].tolist(), ends[chosen].tolist(), strict=True):
            self.builder.add_document(tokens[start:end], [end - start])

    def close(self) -> dict[str, Any]:
        """Write the index, read it back from disk to check it, and return the split's entry in the manifest."""
        paths = [self.prefix.with_suffix(suffix) for suffix in (".bin", ".idx")]
        self.builder.finalize(str(paths[1]))
        for path in paths:
            files.sync(path)
        split = open_split(self.prefix)
        return {
            "documents": len(split),
            "tokens": int(split.sequence_lengths.sum(dtype=np.int64)),
            "files": {path.name: files.describe(path) for path in paths},
        }
