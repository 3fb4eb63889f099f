"""Clean and encode the documents of one part, and keep them on disk. This is the work of one process.

A part is four files: KEY.bin has the tokens of its documents, KEY.npz has arrays with one row a document, and KEY.npy
has the signatures that find near-duplicates. The marker KEY.json, with the hashes of the others, is written last. The
content depends only on the part and the options, and each file gets its name in one step. So two processes may make
the same part at the same time.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from data_prep import files, near, readers
from data_prep.clean import Cleaning
from data_prep.encode import Encoder, token_dtype
from data_prep.fast import FastEncoder, Library
from data_prep.sources import Part


@dataclass(frozen=True)
class Job:
    """How every part is encoded, and the folder for the results."""

    folder: Path
    column: str
    cleaning: Cleaning
    tokenizer_json: Path
    vocab_size: int
    end_of_document: int
    near: bool
    library: Library

    @property
    def contents(self) -> list[str]:
        """The suffixes of a part's files, without that of the marker."""
        return [".bin", ".npz", ".npy"] if self.near else [".bin", ".npz"]

    def path(self, part: Part, suffix: str) -> Path:
        """The path of a file of a part."""
        return self.folder / (part.key + suffix)


@dataclass(frozen=True)
class Documents:
    """The facts about the n documents of all parts, in order.

    `counts` has the number of documents of each part. `lengths` (in tokens) and `sizes` (in bytes of text) have shape
    (n,). `hashes`, shape (n, 2), has the 128-bit hash of each text.
    """

    counts: list[int]
    lengths: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]


def is_done(job: Job, part: Part) -> bool:
    """Whether the files of a part are complete and undamaged."""
    try:
        marker, is_hashed = files.read_hashed(job.path(part, ".json"))
    except (FileNotFoundError, ValueError):  # the marker is missing or damaged
        return False
    return is_hashed and all(files.matches(job.path(part, s), marker["files"][s]) for s in job.contents)


def encode_part(job: Job, part: Part) -> None:
    """Read, clean and encode a part. Write its files, and its marker last.

    Raises:
        DataError: a document cannot be read.
    """
    encoder = _encoder(job)
    token_bytes = np.dtype(token_dtype(job.vocab_size)).itemsize
    dropped: Counter[str] = Counter()
    digests = bytearray()
    sizes: list[int] = []
    lengths: list[int] = []
    signatures = bytearray()
    texts = (text for span in part.spans for text in readers.read(span, job.column))
    with files.replacing(job.path(part, ".bin")) as unfinished, unfinished.open("wb") as file:
        for text in job.cleaning.apply(texts, dropped):
            ids = encoder.encode(text)
            file.write(ids)
            lengths.append(len(ids) // token_bytes)
            encoded = text.encode()
            sizes.append(len(encoded))
            digests += xxhash.xxh3_128_digest(encoded)
            if job.near:
                signatures += near.signature(text).tobytes()
    with files.replacing(job.path(part, ".npz")) as unfinished, unfinished.open("wb") as file:
        np.savez(
            file,
            lengths=np.array(lengths, dtype=np.int32),
            sizes=np.array(sizes, dtype=np.int64),
            hashes=np.frombuffer(digests, dtype="<u8").reshape(-1, 2),
        )
    if job.near:
        with files.replacing(job.path(part, ".npy")) as unfinished, unfinished.open("wb") as file:
            np.save(file, np.frombuffer(signatures, np.uint32).reshape(-1, near.PERMUTATIONS))
    contents = {suffix: files.describe(job.path(part, suffix)) for suffix in job.contents}
    files.write_hashed(job.path(part, ".json"), {"files": contents, "dropped": dropped})


def load_documents(job: Job, plan: list[Part]) -> Documents:
    """Read everything but the tokens of finished parts."""
    columns: dict[str, list[npt.NDArray[Any]]] = {"lengths": [], "sizes": [], "hashes": []}
    for part in plan:
        with np.load(job.path(part, ".npz")) as rows:
            for name, column in columns.items():
                column.append(rows[name])
    counts = [len(lengths) for lengths in columns["lengths"]]
    return Documents(counts, **{name: np.concatenate(column) for name, column in columns.items()})


def load_dropped(job: Job, part: Part) -> Counter[str]:
    """How many documents cleaning left out of a finished part, by reason."""
    return Counter(files.read_hashed(job.path(part, ".json"))[0]["dropped"])


def load_tokens(job: Job, part: Part) -> npt.NDArray[Any]:
    """Map the tokens of a finished part into memory, shape (sum of lengths,). The part must not be empty."""
    return np.memmap(job.path(part, ".bin"), dtype=token_dtype(job.vocab_size), mode="r")


@cache
def _encoder(job: Job) -> Encoder | FastEncoder:
    encoder = FastEncoder if job.library == "fastokens" else Encoder
    return encoder(job.tokenizer_json, job.vocab_size, job.end_of_document)
