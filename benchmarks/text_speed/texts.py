"""The text that is measured on: as JSON lines, its tokenizers, and as shards, each made once."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "data.py"
CORPORA = Path(os.environ.get("APOLLO_DS_CORPORA", SCRIPT.parents[2] / "shared" / "corpora"))
WORK = Path(tempfile.gettempdir()) / "apollo-ds-benchmark-data"
WAYS = ("apollo-prep", "datasets.map", "one document at a time")
"""The ways of preparing text."""
VOCABULARY = 30_522
_DOCUMENT_CHARACTERS = 30_000


def text_file() -> Path:
    """The text as JSON lines."""
    import pyarrow.parquet

    path = WORK / "text.jsonl"
    if not path.exists():
        WORK.mkdir(exist_ok=True)
        with path.with_suffix(".tmp").open("w") as file:
            for name in ("wikipedia", "books"):
                for text in pyarrow.parquet.read_table(CORPORA / f"{name}.parquet")["text"].to_pylist():
                    for start in range(0, len(text), _DOCUMENT_CHARACTERS):
                        file.write(json.dumps({"text": text[start : start + _DOCUMENT_CHARACTERS]}) + "\n")
        path.with_suffix(".tmp").rename(path)
    return path


def tokenizer_folder(kind: str) -> Path:
    """A tokenizer trained on the text, which every way of preparing it uses."""
    folder = WORK / "tokenizers" / kind
    if not folder.exists():
        from data_prep import readers, sources, tokenizer

        parts = sources.plan(sources.parse([str(text_file())])[0], "text", WORK)
        spans = [span for part in parts for span in part.spans]
        tokenizer.train(kind, lambda: (t for span in spans for t in readers.read(span, "text")), VOCABULARY, folder)
    return folder


def shards() -> Path:
    """The text as shards."""
    folder = WORK / "shards"
    if not folder.exists():
        processor_seconds("prepare", WAYS[0], "wordpiece", str(WORK))
    return folder


def processor_seconds(*arguments: str) -> float:
    """User and system time of a fresh process that runs a part of the benchmark, and of those it starts."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(SCRIPT), "--one", *arguments]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
