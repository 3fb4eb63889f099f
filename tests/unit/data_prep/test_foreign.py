"""Shards of other tools: found by name, read as they are, and one sentence for what cannot be read."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_shards import write_shard

from data_prep.errors import DataError
from data_prep.foreign import find, open_shard

DOCUMENTS = [[5, 6, 7], [8], [], [9, 10, 11, 12]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("sequences", [1, 3])
def test_every_type_of_integers_is_read_and_sequences_are_joined(dtype: Any, sequences: int, tmp_path: Path) -> None:
    shard = open_shard(write_shard(tmp_path / "a_text_document", DOCUMENTS, dtype, sequences))
    assert (shard.tokens.dtype, shard.empty) == (dtype, 1)
    found = [shard.tokens[start:end].tolist() for start, end in zip(shard.starts, shard.ends, strict=True)]
    assert found == [document for document in DOCUMENTS if document]


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "the older kind": (lambda index: b"TNTIDX\0\0" + index[8:], "older kind TNTIDX .* --dataset-impl mmap$"),
    "another file": (
        lambda index: b"PK" + index[2:],
        r"is not an index of Megatron's \(it does not begin with MMIDIDX",
    ),
    "an empty file": (lambda index: b"", "is not an index of Megatron's"),
    "half a header": (lambda index: index[:20], "is cut short: restore it"),
    "another version": (lambda index: index[:9] + b"\x02" + index[10:], "is version 2 of Megatron's index"),
    "float32": (lambda index: index[:17] + b"\x07" + index[18:], "holds floating-point numbers, not tokens"),
    "float64": (lambda index: index[:17] + b"\x06" + index[18:], "holds floating-point numbers, not tokens"),
    "an unknown type": (lambda index: index[:17] + b"\x63" + index[18:], "of a type 99 that Megatron's index"),
    "modes": (lambda index: index + bytes(4), r"is of a multimodal data set \(each sequence has a mode\)"),
    "a cut": (lambda index: index[:-1], r"has 121 bytes, not the 122 that its header tells"),
    "more than there is": (lambda index: index[:18] + b"\xff" * 16 + index[34:], "bytes, not the .* its header tells"),
    "no sequences": (lambda index: index[:18] + struct.pack("<QQ", 0, 0), "holds no documents: leave this shard out"),
    "another length": (lambda index: index[:34] + b"\x04" + index[35:], "do not add up to the 32 bytes of"),
    "a negative length": (
        lambda index: index[:34] + struct.pack("<4i", 9, -1, -4, 4) + index[50:],
        "do not add up to the 32 bytes of",
    ),
    "another place": (lambda index: index[:58] + b"\x02" + index[59:], "do not lie end to end in"),
    "documents that overlap": (
        lambda index: index[:82] + struct.pack("<5q", 0, 2, 1, 3, 4),
        "its documents do not cover its sequences, each once",
    ),
    "documents that leave some out": (
        lambda index: index[:82] + struct.pack("<5q", 0, 1, 2, 3, 3),
        "its documents do not cover its sequences, each once",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_one_sentence(what: str, tmp_path: Path) -> None:
    prefix, (spoil, sentence) = write_shard(tmp_path / "a", DOCUMENTS), REFUSED[what]
    index = tmp_path / "a.idx"
    index.write_bytes(spoil(index.read_bytes()))
    with pytest.raises(DataError, match=rf"^{index}: .*{sentence}"):
        open_shard(prefix)


def test_tokens_that_were_cut_or_emptied_are_one_sentence(tmp_path: Path) -> None:
    prefix = write_shard(tmp_path / "a", DOCUMENTS)
    content = (tmp_path / "a.bin").read_bytes()
    for changed, sentence in ((content[:-4], "do not add up to the 28 bytes"), (b"", r"a\.bin: holds no tokens")):
        (tmp_path / "a.bin").write_bytes(changed)
        with pytest.raises(DataError, match=sentence):
            open_shard(prefix)


def test_a_folder_is_searched_and_a_shard_may_be_named_in_three_ways(tmp_path: Path) -> None:
    names = ["b v1.2[x]_text_document", "a/c", ".hidden/d", "a/.e"]
    b, c, *_ = (write_shard(tmp_path / "shards" / name, DOCUMENTS) for name in names)
    (tmp_path / "shards" / "notes.txt").touch()
    assert find([str(tmp_path / "shards")]) == [c, b]
    for suffix in ("", ".bin", ".idx"):
        assert find([f"{b}{suffix}", str(c)]) == [b, c]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["{}/none"], "none: no shard there: name a folder of shards, or a shard as PREFIX of PREFIX.bin and .idx"),
        (["{}/empty"], "empty: holds no shard, such as NAME_text_document.idx and .bin"),
        (["{}/half"], r"half\.bin: missing beside half\.idx: restore it, or leave both out"),
        (["{}/\udcff"], r"udcff' is not UTF-8: rename the file or folder"),
        (["{}/ours"], r"ours: has a manifest\.json, so it is prepared text already: give it as data="),
        (["{}/a", "{}/link"], "link: is the same shard as .*/a: name it once"),
        (["{}/a", "{}/sub/../a"], "a: is the same shard as .*/a: name it once"),
    ],
)
def test_what_names_no_shard_or_one_twice_is_refused(given: list[str], sentence: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "a", DOCUMENTS)
    (tmp_path / "empty").mkdir()
    (tmp_path / "half.idx").touch()
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "manifest.json").touch()
    for suffix in (".bin", ".idx"):
        (tmp_path / f"link{suffix}").symlink_to(tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match=sentence):
        find([name.format(tmp_path) for name in given])
