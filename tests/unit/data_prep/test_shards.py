"""The shard format: megatron-core reads what is written here, and what megatron-core writes is read here."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from data_prep.shards import Shard, ShardWriter

with warnings.catch_warnings(action="ignore"):
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

DOCUMENTS = [[5, 6, 7], [8], [40_000, 2, 2, 2], [9, 10]]
SIZES = [(30_000 + 2**15, np.uint16), (100_000, np.int32)]


@pytest.mark.parametrize(("vocab_size", "dtype"), SIZES)
def test_files_are_those_that_megatron_core_writes(vocab_size: int, dtype: type, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "ours", vocab_size)
    tokens = np.array([token for document in DOCUMENTS for token in document], dtype=dtype)
    ends = np.cumsum([len(document) for document in DOCUMENTS])
    writer.add(tokens[: ends[1]], ends[:2], np.array([1, 1]))
    writer.add(tokens[ends[1] :], ends[2:] - ends[1], np.array([2, 1]))
    entry = writer.close()
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype)
    for document in (*DOCUMENTS[:3], *DOCUMENTS[2:]):
        builder.add_document(np.array(document), [len(document)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    assert (entry["documents"], entry["tokens"]) == (5, 14)
    assert set(entry["files"]) == {"ours.bin", "ours.idx"}


@pytest.mark.parametrize(("vocab_size", "dtype"), SIZES)
def test_a_shard_is_read_as_megatron_core_does(vocab_size: int, dtype: type, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "train", vocab_size)
    writer.add(np.arange(100), np.array([10, 11, 60, 100]), np.array([1, 0, 3, 1]))
    writer.close()
    shard, theirs = Shard.open(tmp_path / "train"), IndexedDataset(str(tmp_path / "train"))
    assert shard.tokens.dtype == theirs.index.dtype == dtype
    assert shard.lengths.tolist() == theirs.sequence_lengths.tolist() == [10, 49, 49, 49, 40]
    assert shard.first_bytes.tolist() == theirs.index.sequence_pointers.tolist()
    for i, (first, length) in enumerate(zip(shard.first_tokens, shard.lengths, strict=True)):
        assert shard.tokens[first : first + length].tolist() == theirs[i].tolist()
