"""Windows of the shuffled stream: equal to a reference that builds the whole stream, with documents known, cached."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import manifest_of

from apollo_ds.data import token_stream
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.errors import UserError
from apollo_ds.rng import Stream, permute, random_bits
from data_prep.indexed import ShardWriter
from data_prep.manifest import write_manifest

BLOCK = 16


def write(folder: Path, lengths: list[int], vocab_size: int = 100_000) -> Path:
    """Prepared text with a split `train` of documents of these lengths, no token like another."""
    for split in ("train", "validation"):
        writer = ShardWriter(folder / split, vocab_size)
        writer.add(np.arange(sum(lengths)), np.cumsum(lengths), np.ones(len(lengths), np.int64))
        writer.close()
    write_manifest(folder, manifest_of(folder))
    return folder


def reference(lengths: list[int], seed: int, position: int, length: int) -> tuple[list[int], list[int]]:
    """The tokens at a position of the run and the documents they are from, read as one would explain it."""
    starts = np.cumsum([0, *lengths])
    blocks = (sum(lengths) - 1) // BLOCK
    epoch, inside = divmod(position, blocks * BLOCK)
    block, offset = divmod(inside, BLOCK)
    keys = random_bits(seed, Stream.DOCUMENT_ORDER, epoch, np.arange(len(lengths)))
    order = sorted(range(len(lengths)), key=lambda document: keys[document])
    stream = [(token, d) for d in order for token in range(starts[d], starts[d + 1])]
    start = int(permute(np.array([block]), blocks, seed, Stream.WINDOW_ORDER, epoch)[0]) * BLOCK + offset
    tokens, documents = zip(*stream[start : start + length], strict=True)
    return list(tokens), list(documents)


@settings(max_examples=100)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=20, max_size=60),
    seed=st.integers(0, 1000),
    cut=st.sampled_from([1, 2, 4]),
    positions=st.lists(st.integers(0, 400), min_size=1, max_size=12),
)
def test_batches_equal_the_reference(
    lengths: list[int], seed: int, cut: int, positions: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Positions of several epochs in any order, whole blocks and parts of them, with the token that follows."""
    stream = TokenStream(write(tmp_path_factory.mktemp("split"), lengths), "train", BLOCK, seed)
    length = BLOCK // cut
    at = np.array(positions) * length
    for more in (0, 1):
        expected = [reference(lengths, seed, position, length + more) for position in at.tolist()]
        assert stream.read(at, length + more).tolist() == [tokens for tokens, _ in expected]
        assert stream.documents(at, length + more).tolist() == [documents for _, documents in expected]


def test_documents_are_parted_where_one_ends(tmp_path: Path) -> None:
    lengths = [3, 1, 30, 2, 7, 50, 1, 9]
    stream = TokenStream(write(tmp_path, lengths), "train", BLOCK, seed=1)
    positions = np.arange(stream.blocks) * BLOCK
    tokens, documents = stream.read(positions, BLOCK), stream.documents(positions, BLOCK)
    last_of_document = np.cumsum(lengths) - 1
    assert ((np.diff(documents, axis=1) != 0) == np.isin(tokens, last_of_document)[:, :-1]).all()


def test_blocks_looked_up_ahead_are_those_of_the_permutation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TokenStream(write(tmp_path, [7] * 500), "train", BLOCK, seed=3)
    everything = stream.read(np.arange(3 * stream.blocks) * BLOCK, BLOCK)
    monkeypatch.setattr(token_stream, "_BLOCKS_AHEAD", 10)
    few = TokenStream(tmp_path, "train", BLOCK, seed=3)
    batches = [few.read(np.arange(i, min(i + 8, 3 * few.blocks)) * BLOCK, BLOCK) for i in range(0, 3 * few.blocks, 8)]
    assert (np.concatenate(batches) == everything).all()


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A split whose documents' order is kept in a file."""
    monkeypatch.setattr(token_stream, "_CACHED_FROM_DOCUMENTS", 2)
    return write(tmp_path, [5, 40, 3, 90, 12, 33])


def first_samples(folder: Path, epoch: int = 0, seed: int = 5) -> list[list[int]]:
    stream = TokenStream(folder, "train", BLOCK, seed)
    return stream.read(epoch * stream.tokens_per_epoch + np.arange(stream.blocks) * BLOCK, BLOCK).tolist()


def test_the_order_is_computed_once_and_kept_for_one_epoch(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_stream, "_CACHED_FROM_DOCUMENTS", 1000)
    without = [first_samples(cached, epoch) for epoch in range(3)]
    assert not (cached / "cache").exists()
    monkeypatch.setattr(token_stream, "_CACHED_FROM_DOCUMENTS", 2)
    assert [first_samples(cached, epoch) for epoch in range(3)] == without
    assert first_samples(cached, epoch=2, seed=6) != without[2]
    kept = sorted(path.name.rsplit("-", 1)[0] for path in (cached / "cache").iterdir())
    assert kept == ["train-seed5-epoch2", "train-seed6-epoch2"]
    with monkeypatch.context() as patch:
        patch.delattr(token_stream, "_shuffle_documents")
        assert first_samples(cached, epoch=2) == without[2]


@pytest.mark.parametrize("place", [0, 3, 40, 95, 96, 103])
def test_a_cached_order_with_a_flipped_bit_is_computed_anew(cached: Path, place: int) -> None:
    expected = first_samples(cached)
    (path,) = (cached / "cache").iterdir()
    sound = path.read_bytes()
    assert len(sound) == 8 * (2 * 6 + 1)
    path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
    assert first_samples(cached) == expected
    assert path.read_bytes() == sound


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("train.bin", lambda content: content[:-4]),
        ("train.bin", lambda content: b""),
        ("train.idx", lambda content: content[:20]),
        ("train.idx", lambda content: content[:-8]),
        ("train.idx", lambda content: b"N" + content[1:]),
        ("train.idx", lambda content: content[:17] + b"\x07" + content[18:]),
        ("train.idx", lambda content: content[:23] + b"\x01" + content[24:]),
        ("train.idx", None),
        ("train.bin", None),
    ],
)
def test_files_that_do_not_belong_together_are_named(
    name: str, change: Callable[[bytes], bytes] | None, tmp_path: Path
) -> None:
    path = write(tmp_path, [30] * 10) / name
    if change:
        path.write_bytes(change(path.read_bytes()))
    else:
        path.unlink()
    with pytest.raises(UserError, match=r"data: .*train\.idx: missing, damaged, or not of .*train\.bin: restore both"):
        TokenStream(tmp_path, "train", BLOCK, seed=1)


def test_a_cached_order_of_other_text_or_half_a_file_is_not_used(cached: Path) -> None:
    before = first_samples(cached)
    write(cached, [40, 5, 90, 3, 33, 12])
    after = first_samples(cached)
    assert after != before
    (path,) = (cached / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:-8])
    assert first_samples(cached) == after
    write(cached, [5, 40, 3, 90, 12, 33])
    assert first_samples(cached) == before


def test_a_folder_that_cannot_be_written_to_serves_the_same(cached: Path) -> None:
    expected = first_samples(cached)
    for path in (cached / "cache").iterdir():
        path.unlink()
    (cached / "cache").rmdir()
    (cached / "cache").write_text("in the way")
    assert first_samples(cached) == expected


def test_a_part_of_an_epoch_repeats_no_document_s_tokens(tmp_path: Path) -> None:
    stream = TokenStream(write(tmp_path, [30] * 40, vocab_size=1000), "train", BLOCK, seed=0)
    served = stream.read(np.arange(stream.blocks) * BLOCK, BLOCK).ravel()
    assert len(set(served.tolist())) == len(served)
    assert any(after - before != 1 for before, after in pairwise(served.tolist()))
