"""Text to token shards: by this package, by `datasets`, and document by document as Megatron does."""

import json
import statistics
import sys
import tempfile
from itertools import chain
from pathlib import Path

from text_speed.texts import WAYS, WORK, processor_seconds, text_file, tokenizer_folder

_TIMES = 1  # each takes from half a minute to two
_SEQ_LEN = 128
_DOCUMENTS_AT_ONCE = 100  # with the usual 1,000 the tokenizer's intermediate results take gigabytes


def preparation(kind: str) -> dict[str, float]:
    """MB of text a processor second, for each way."""
    size = len("".join(json.loads(line)["text"] for line in text_file().open()).encode()) / 1e6
    tokenizer_folder(kind)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(_TIMES):
        for way in WAYS:
            with tempfile.TemporaryDirectory(dir=WORK) as out:
                seconds[way].append(processor_seconds("prepare", way, kind, out))
    rates = {f"{way}, MB/s a core": size / statistics.median(times) for way, times in seconds.items()}
    ours, *others = rates.values()
    return {"text, MB": size, **rates, **{f"times {way}": ours / r for way, r in zip(WAYS[1:], others, strict=True)}}


def prepare(way: str, kind: str, out: str) -> None:
    """Prepare the text in one of the ways, in this process."""
    {WAYS[0]: _with_apollo_prep, WAYS[1]: _with_datasets, WAYS[2]: _one_at_a_time}[way](
        tokenizer_folder(kind), Path(out)
    )


def _with_apollo_prep(tokenizer: Path, out: Path) -> None:
    from data_prep.__main__ import main

    words = ["--source", str(text_file()), "--tokenizer", str(tokenizer), "--out", str(out / "shards")]
    sys.argv = ["apollo-prep", "build", *words, "--workers", "1"]
    main()


def _with_datasets(folder: Path, out: Path) -> None:
    """As the example scripts of transformers do."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def group_texts(examples: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {key: list(chain(*lists)) for key, lists in examples.items()}
        total = len(joined["input_ids"]) // _SEQ_LEN * _SEQ_LEN
        return {key: [row[i : i + _SEQ_LEN] for i in range(0, total, _SEQ_LEN)] for key, row in joined.items()}

    texts = load_dataset("json", data_files=str(text_file()), split="train", cache_dir=str(out))
    tokens = texts.map(
        lambda rows: tokenizer(rows["text"], return_special_tokens_mask=True),
        batched=True,
        batch_size=_DOCUMENTS_AT_ONCE,
        remove_columns=["text"],
    )
    tokens.map(group_texts, batched=True, batch_size=_DOCUMENTS_AT_ONCE)


def _one_at_a_time(folder: Path, out: Path) -> None:
    """Into megatron-core's writer, as Megatron's preprocessing does."""
    import numpy as np
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.sep_token_id or tokenizer.eos_token_id
    builder = IndexedDatasetBuilder(str(out / "train.bin"), dtype=np.uint16)
    with text_file().open() as file:
        for line in file:
            ids = [*tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"], end]
            builder.add_document(ids, [len(ids)])
    builder.finalize(str(out / "train.idx"))
