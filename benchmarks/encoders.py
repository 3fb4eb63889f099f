"""Libraries that encode text, side by side with this package's own way; results/encoders.*

    pip install tiktoken fastokens tokie kitoken
    python benchmarks/encoders.py                           each that is installed, three times
    python benchmarks/encoders.py wordpiece --times 1       with one tokenizer; the results of the other stay

Each library gives ids to a worker of `apollo-prep build` in place of `data_prep.encode.Encoder`: on one core, in a
fresh process each time, from the text in a file to the files of its parts. Figures are medians of processor time,
without imports, loading the tokenizer, choosing documents and writing shards.

The text is that of `data.py`. The ids of every document are compared with those of `Encoder`, and so are those of
odd texts, outside the time: every character below U+20000, alone and between letters, and special tokens spelled out,
which are text like any other. The tokenizers are trained on the text.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from text_speed.texts import VOCABULARY, WORK, text_file, tokenizer_folder

from data_prep import parts, sources
from data_prep.clean import Cleaning
from data_prep.encode import Encoder, plain_text
from data_prep.parts import Job

Ids = Callable[[str], Any]
RESULTS = Path(__file__).parent / "results"
KINDS = ("bpe", "wordpiece")
OURS = "apollo-prep"
ODD = WORK / "odd.jsonl"
END = 0
_GPT2_WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SPELLED = ["<|endoftext|>", "a<|endoftext|>b", "[SEP]", "one [SEP] two", "[CLS]one", "[MASK] two", "##ing"]


def _of_tokenizers(path: Path) -> Ids:
    from tokenizers import Tokenizer

    encode = plain_text(Tokenizer.from_file(str(path))).encode_batch_fast
    return lambda text: encode([text], add_special_tokens=False)[0].ids


def _of_tiktoken(path: Path) -> Ids:
    import tiktoken
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    vocabulary = json.loads(path.read_text())["model"]["vocab"]
    ranks = {bytes(byte_of[c] for c in token): i for token, i in vocabulary.items() if i != END}
    encoding = tiktoken.Encoding("own", pat_str=_GPT2_WORDS, mergeable_ranks=ranks, special_tokens={})
    return lambda text: encoding.encode_to_numpy(text, disallowed_special=())


def _of_fastokens(path: Path) -> Ids:
    import fastokens

    encode = fastokens.Tokenizer.from_file(str(path)).encode_ordinary
    return lambda text: encode(text).ids


def _of_tokie(path: Path) -> Ids:
    import tokie

    encode = tokie.Tokenizer.from_json(str(path)).encode_batch_flat
    return lambda text: encode([text], add_special_tokens=False)[0]


def _of_kitoken(path: Path) -> Ids:
    import kitoken

    encode = kitoken.Kitoken.from_tokenizers_file(str(path)).encode
    return lambda text: encode(text, False)


LIBRARIES: dict[str, tuple[Callable[[Path], Ids], tuple[str, ...]]] = {
    "tokenizers": (_of_tokenizers, ("bpe", "wordpiece")),
    "tiktoken": (_of_tiktoken, ("bpe",)),
    "fastokens": (_of_fastokens, ("bpe",)),
    "tokie": (_of_tokie, ("bpe", "wordpiece")),
    "kitoken": (_of_kitoken, ("bpe", "wordpiece")),
}
"""How each gives ids, and for which tokenizers; tiktoken and fastokens have no WordPiece of BERT's."""


class Library:
    """A library in the place of `Encoder`."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids

    def encode(self, text: str) -> bytes:
        """The ids of a document and its end, as `Encoder` gives them."""
        return np.array(self.ids(text), dtype=np.uint16).tobytes() + np.uint16(END).tobytes()


def main() -> None:
    """Measure each library with each tokenizer that it knows, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"{' or '.join(KINDS)}; both without")
    parser.add_argument("--times", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(encode_all(*options.one)))
        return
    write_odd()
    size = len("".join(json.loads(line)["text"] for line in text_file().open()).encode()) / 1e6
    path = RESULTS / "encoders.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for kind in options.kinds or KINDS:
        results[kind] = compare(kind, size, options.times)
        path.write_text(json.dumps(results, indent=1) + "\n")
    RESULTS.joinpath("encoders.md").write_text(table(results, size))


def write_odd() -> None:
    """Write odd texts as JSON lines."""
    characters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    texts = [*_SPELLED, *characters, *(f"a{c}b {c} {c}" for c in characters)]
    WORK.mkdir(exist_ok=True)
    ODD.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def encode_all(way: str, kind: str, out: str) -> float:
    """Encode both files in this process; returns the seconds that the text took."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    path = tokenizer_folder(kind) / "tokenizer.json"
    encoder = Encoder(path, VOCABULARY, END) if way == OURS else Library(LIBRARIES[way][0](path))
    parts._encoder = lambda _: encoder  # type: ignore[assignment]
    encode("odd", ODD, Path(out), path)
    start = time.process_time()
    encode("text", text_file(), Path(out), path)
    return time.process_time() - start


def encode(name: str, path: Path, out: Path, tokenizer_json: Path) -> None:
    """Encode a file as a build does, into a folder of that name."""
    folder = out / name
    folder.mkdir(exist_ok=True)
    job = Job(folder, "text", Cleaning(None, 1), tokenizer_json, VOCABULARY, END, near=False, library="tokenizers")
    for part in sources.plan(sources.parse([str(path)])[0], "text", folder):
        parts.encode_part(job, part)


def compare(kind: str, size: float, times: int) -> dict[str, dict[str, float]]:
    """MB a processor second of each library, and the documents that it encodes otherwise than `Encoder`."""
    ways = [OURS, *(name for name, (_, kinds) in LIBRARIES.items() if kind in kinds and _installed(name))]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    differ: dict[str, dict[str, float]] = {}
    tokenizer_folder(kind)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        for _ in range(times):
            for way in ways:
                out = Path(folder) / way
                out.mkdir(exist_ok=True)
                command = [sys.executable, __file__, "--one", way, kind, str(out)]
                environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                seconds[way].append(json.loads(done.stdout.splitlines()[-1]))
                if way not in differ:
                    differ[way] = {name: different(out / name, Path(folder) / OURS / name) for name in ("text", "odd")}
                print(kind, way, f"{size / seconds[way][-1]:.2f} MB/s", differ[way], flush=True)
    rates = {way: size / statistics.median(taken) for way, taken in seconds.items()}
    return {way: {"MB/s": rate, "times": rate / rates[OURS], **differ[way]} for way, rate in rates.items()}


def different(one: Path, other: Path) -> int:
    """How many documents of two folders of parts have other ids."""
    documents = (documents_of(one), documents_of(other))
    return sum(a != b for a, b in zip(*documents, strict=True))


def documents_of(folder: Path) -> list[bytes]:
    """The ids of every document."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        tokens, ends = path.with_suffix(".bin").read_bytes(), 2 * np.cumsum(np.load(path)["lengths"], dtype=np.int64)
        found += [tokens[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return found


def table(results: dict[str, dict[str, dict[str, float]]], size: float) -> str:
    """The results as a page."""
    lines = ["# Libraries that encode text", "", "`python benchmarks/encoders.py`: its head says what is measured.", ""]
    lines += [f"{size:.0f} MB of text, a vocabulary of {VOCABULARY:,}.", ""]
    lines += ["| tokenizer | library | MB/s a core | times | documents with other ids | odd texts with other ids |"]
    lines += ["|---|---|---|---|---|---|"]
    for kind, ways in results.items():
        for way, row in ways.items():
            name = way if way == OURS else f"{way} {version(way)}"
            figures = f"{row['MB/s']:.1f} | {row['times']:.2f} | {row['text']:,} | {row['odd']:,}"
            lines.append(f"| {kind} | {name} | {figures} |")
    return "\n".join(lines) + "\n"


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    main()
