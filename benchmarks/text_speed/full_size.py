"""A made-up set of 5 billion tokens: what it takes to open it and to read samples, in fresh processes."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from text_speed.texts import SCRIPT, VOCABULARY, WORK

_TOKENS, _DOCUMENTS = 5_000_000_000, 7_000_000
_TIMES = 3
_BATCH = 256
_BATCHES = 200


def full_size(seq_len: str) -> dict[str, float]:
    """Opening the set for the first time and again, and random samples of it."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        _simulate(Path(folder))
        first, *again = (_measured(folder, seq_len) for _ in range(1 + _TIMES))
    later = {key: statistics.median(run[key] for run in again) for key in first}
    return {
        "first opening, s": first["opening"],
        "later opening, s": later["opening"],
        "next epoch, s": later["next epoch"],
        "samples/s": later["samples/s"],
        "peak resident, MB": max(first["resident"], later["resident"]) / 1e6,
        "of it own (not files), MB": later["own"] / 1e6,
    }


def _simulate(folder: Path) -> None:
    """Write an index of 7 million documents, and tokens that are a hole in the file system."""
    import numpy as np

    from data_prep.indexed import ShardWriter

    lengths = np.random.default_rng(0).geometric(_DOCUMENTS / _TOKENS, _DOCUMENTS)
    builder = ShardWriter(folder / "train", VOCABULARY).builder
    builder.data_file.truncate(2 * int(lengths.sum()))
    builder.sequence_lengths, builder.document_indices = lengths.tolist(), list(range(_DOCUMENTS + 1))
    builder.finalize(str(folder / "train.idx"))


def _measured(folder: str, seq_len: str) -> dict[str, float]:
    command = [sys.executable, str(SCRIPT), "--one", "serve", folder, seq_len]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def serve(folder: str, seq_len: str) -> None:
    """Open, read samples of one epoch and of the next, and print seconds, rates and the peak of resident memory."""
    import numpy as np

    from apollo_ds.data.token_stream import TokenStream

    length = int(seq_len)
    started = time.perf_counter()
    stream = TokenStream(Path(folder), "train", length, seed=42)
    stream.read(np.arange(_BATCH) * length, length)
    opening = time.perf_counter() - started
    started = time.perf_counter()
    for i in range(_BATCHES):
        stream.read((i * _BATCH + np.arange(_BATCH)) * length, length)
    rate = _BATCHES * _BATCH / (time.perf_counter() - started)
    status = Path("/proc/self/status").read_text()
    memory = {line.split()[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if "kB" in line}
    started = time.perf_counter()
    other = TokenStream(Path(folder), "train", length, seed=int(time.time()))
    other.read(other.tokens_per_epoch + np.arange(_BATCH) * length, length)
    shuffling = time.perf_counter() - started
    found = {"opening": opening, "samples/s": rate, "next epoch": shuffling}
    print(json.dumps({**found, "resident": memory["VmHWM:"], "own": memory["RssAnon:"]}))
