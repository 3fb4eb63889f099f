"""The shard format to the byte; both readers read the same; what is no shard is told in a sentence."""

import os
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import DataError
from data_prep.indexed import IndexedDatasetBuilder, ShardWriter, open_split
from data_prep.shards import Shard, Shards, write_index

DOCUMENTS = [[5, 6, 7], [8], [40_000, 2, 2, 2], [9, 10]]
SIZES = [(30_000 + 2**15, np.uint16), (2**16, np.uint16), (100_000, np.int32)]
HEADER = b"MMIDIDX\x00\x00" + struct.pack("<Q", 1)


@pytest.mark.parametrize(("vocab_size", "dtype"), SIZES)
def test_the_format_to_the_byte(vocab_size: int, dtype: type, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "train", vocab_size)
    tokens = np.array([token for document in DOCUMENTS for token in document], dtype=dtype)
    ends = np.cumsum([len(document) for document in DOCUMENTS])
    writer.add(tokens[: ends[1]], ends[:2], np.array([1, 1]))
    writer.add(tokens[ends[1] :], ends[2:] - ends[1], np.array([2, 1]))
    entry = writer.close()
    written = [*DOCUMENTS[:3], *DOCUMENTS[2:]]
    item = np.dtype(dtype).itemsize
    lengths, starts = [3, 1, 4, 4, 2], [0, 3, 4, 8, 12]
    index = HEADER + bytes([{2: 8, 4: 4}[item]]) + struct.pack("<QQ", 5, 6)
    index += struct.pack("<5i5q6q", *lengths, *(item * start for start in starts), *range(6))
    assert (tmp_path / "train.bin").read_bytes() == np.concatenate(written).astype(dtype).tobytes()
    assert (tmp_path / "train.idx").read_bytes() == index
    assert (entry["documents"], entry["tokens"]) == (5, 14)
    assert set(entry["files"]) == {"train.bin", "train.idx"}


@pytest.mark.parametrize(("vocab_size", "dtype"), SIZES)
def test_a_shard_is_read_as_megatron_core_does(vocab_size: int, dtype: type, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "train", vocab_size)
    writer.add(np.arange(100), np.array([10, 11, 60, 100]), np.array([1, 0, 3, 1]))
    writer.close()
    shard, theirs = Shard.open(tmp_path / "train.idx", tmp_path / "train.bin"), open_split(tmp_path / "train")
    assert shard.tokens.dtype == theirs.index.dtype == dtype
    assert shard.lengths.tolist() == theirs.sequence_lengths.tolist() == [10, 49, 49, 49, 40]
    assert shard.first_bytes.tolist() == theirs.index.sequence_pointers.tolist()
    for i, (first, length) in enumerate(zip(shard.first_tokens, shard.lengths, strict=True)):
        assert shard.tokens[first : first + length].tolist() == theirs[i].tolist()


def test_documents_beyond_two_gigabytes(tmp_path: Path) -> None:
    """Of which only the index and the size are real."""
    builder = ShardWriter(tmp_path / "train", 1000).builder
    builder.sequence_lengths, builder.document_indices = [2**31 - 1, 2**30, 1], [0, 1, 2, 3]
    builder.data_file.truncate(2 * (2**31 + 2**30))
    builder.finalize(str(tmp_path / "train.idx"))
    shard, theirs = Shard.open(tmp_path / "train.idx", tmp_path / "train.bin"), open_split(tmp_path / "train")
    assert shard.first_bytes.tolist() == theirs.index.sequence_pointers.tolist() == [0, 2**32 - 2, 2**32 + 2**31 - 2]
    assert len(shard.tokens) == 2**31 + 2**30


@settings(max_examples=50)
@given(
    lengths=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=4),
    data=st.data(),
)
def test_pieces_of_several_shards_are_those_of_one_stream(
    lengths: list[list[int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Indexes of half of the documents, of tokens of different types, whose documents lie where they lie."""
    folder, expected, pairs = tmp_path_factory.mktemp("shards"), [], []
    for i, of_shard in enumerate(lengths):
        dtype = (np.uint16, np.int64, np.int16)[i % 3]
        tokens, ends = np.arange(sum(of_shard), dtype=dtype) + 100 * i, np.cumsum(of_shard)
        pairs.append((folder / f"{i}.idx", folder / f"{i}.bin"))
        tokens.tofile(pairs[-1][1])
        chosen = slice(i % 2 if len(of_shard) > 1 else 0, None, 2)
        starts = (ends - of_shard)[chosen]
        write_index(pairs[-1][0], dtype, np.array(of_shard)[chosen], starts * tokens.itemsize)
        expected += [tokens[a:b].tolist() for a, b in zip(starts, ends[chosen], strict=True)]
    shards = Shards.open(pairs)
    assert shards.lengths.tolist() == list(map(len, expected))
    read = [shards.read(shards.first_tokens[[i]], shards.lengths[[i]].astype(np.int64)) for i in range(len(expected))]
    assert [tokens.tolist() for tokens in read] == expected
    order = np.array(data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1)))
    together = shards.read(shards.first_tokens[order], shards.lengths[order].astype(np.int64))
    assert together.tolist() == [token for i in order for token in expected[i]]


def test_more_shards_are_mapped_than_files_may_be_open_at_first(tmp_path: Path) -> None:
    np.arange(4, dtype=np.int32).tofile(tmp_path / "a.bin")
    write_index(tmp_path / "a.idx", np.int32, np.array([4]), np.array([0]))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, limits[1]))
    try:
        assert len(Shards.open([(tmp_path / "a.idx", tmp_path / "a.bin")] * 40).lengths) == 40
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


DAMAGE = {
    "another magic number": (lambda index: b"TNTIDX\x00\x00\x00" + index[9:], "not an index of Megatron's"),
    "another version": (lambda index: index[:9] + b"\x02" + index[10:], "not an index of Megatron's"),
    "an unknown type": (lambda index: index[:17] + b"\x63" + index[18:], "not an index of Megatron's"),
    "tokens of eight bytes": (lambda index: index[:17] + b"\x05" + index[18:], "tokens of type int64"),
    "four-byte tokens": (lambda index: index[:17] + b"\x04" + index[18:], r"add up to the 28 bytes of train\.bin"),
    "no bytes": (lambda index: b"", "not an index of Megatron's"),
    "half of a header": (lambda index: index[:20], "not an index of Megatron's"),
    "a cut": (lambda index: index[:-1], "not an index of Megatron's"),
    "too many documents to hold": (lambda index: index[:18] + b"\xff" * 16 + index[34:], "not an index of Megatron's"),
    "another length": (lambda index: index[:34] + b"\x04" + index[35:], r"add up to the 28 bytes of train\.bin"),
    "another place": (lambda index: index[:54] + b"\x02" + index[55:], r"add up to the 28 bytes of train\.bin"),
    "lengths that only add up": (
        lambda index: index[:34] + struct.pack("<5i5q", 15, -11, 4, 4, 2, 0, 30, 8, 16, 24) + index[94:],
        r"add up to the 28 bytes of train\.bin",
    ),
}


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_one_sentence(damage: str, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "train", 1000)
    writer.add(np.arange(14), np.array([3, 4, 8, 12, 14]), np.ones(5, np.int64))
    writer.close()
    spoil, message = DAMAGE[damage]
    index = tmp_path / "train.idx"
    index.write_bytes(spoil(index.read_bytes()))
    with pytest.raises(DataError, match=rf"train\.idx: .*{message}.*: restore both, or remove .* and build again"):
        open_split(tmp_path / "train")


def test_tokens_that_were_cut_or_added_to_are_one_sentence(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "train", 1000)
    writer.add(np.arange(14), np.array([3, 14]), np.ones(2, np.int64))
    writer.close()
    tokens = tmp_path / "train.bin"
    content = tokens.read_bytes()
    for changed in (content[:-2], content + b"\0\0"):
        tokens.write_bytes(changed)
        with pytest.raises(DataError, match=rf"do not add up to the {len(changed)} bytes of train\.bin"):
            open_split(tmp_path / "train")
    tokens.unlink()
    with pytest.raises(DataError, match=r"train\.idx: missing"):
        open_split(tmp_path / "train")


def test_documents_of_several_sequences_are_refused(tmp_path: Path) -> None:
    """Megatron's own preprocessing writes them where it splits documents into sentences."""
    builder = IndexedDatasetBuilder(str(tmp_path / "train.bin"), np.uint16)
    builder.add_document(np.arange(5), [2, 3])
    builder.add_document(np.arange(4), [4])
    builder.finalize(str(tmp_path / "train.idx"))
    with pytest.raises(DataError, match=r"train\.idx: has documents of several sequences"):
        open_split(tmp_path / "train")
