"""Speed of preparing, reading and masking text, side by side with what is usual; results/data.*

    python benchmarks/data.py                       every part
    python benchmarks/data.py preparation           a part; or one of its cases, such as `wordpiece`

`preparation` makes shards from one JSON-lines file, each time in a fresh process, and counts the processor time from
its start, imports included, so that a rate is that of one core however many threads work: with `apollo-prep build`;
with `datasets.map(tokenize)` and `map(group_texts)`, as the example scripts of transformers do; and document by
document into megatron-core's writer, as Megatron's preprocessing does. `reading` compares samples with slices of a
numpy.memmap, `training` with what training takes; `masking` compares with `DataCollatorForLanguageModeling`;
these three also count processor time, on one thread. `full-size` opens a made-up set of 5 billion tokens in fresh
processes.

The text is wikipedia.parquet and books.parquet in APOLLO_DS_CORPORA; books are cut into documents of 30,000
characters. Preparation is measured once, for it is long; all other figures are medians.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
CORPORA = Path(os.environ.get("APOLLO_DS_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))
WORK = Path(tempfile.gettempdir()) / "apollo-ds-benchmark-data"
REPEATS = 3
PREPARATIONS = 1  # each takes from half a minute to two
DOCUMENT_CHARACTERS = 30_000
SEQ_LEN = 128
BATCH = 256
BASELINE_BATCH = 100  # documents; with the usual 1,000 the tokenizer's intermediate results take gigabytes
FULL_TOKENS, FULL_DOCUMENTS = 5_000_000_000, 7_000_000
WAYS = ("apollo-prep", "datasets.map", "one document at a time")


# ---------------------------------------------------------------------------------------------------- preparation


def text_file() -> Path:
    """The text as JSON lines, made once."""
    import pyarrow.parquet

    path = WORK / "text.jsonl"
    if not path.exists():
        WORK.mkdir(exist_ok=True)
        with path.with_suffix(".tmp").open("w") as file:
            for name in ("wikipedia", "books"):
                for text in pyarrow.parquet.read_table(CORPORA / f"{name}.parquet")["text"].to_pylist():
                    for start in range(0, len(text), DOCUMENT_CHARACTERS):
                        file.write(json.dumps({"text": text[start : start + DOCUMENT_CHARACTERS]}) + "\n")
        path.with_suffix(".tmp").rename(path)
    return path


def tokenizer_folder(kind: str) -> Path:
    """A tokenizer of 30,522 tokens, trained on the text once: what every way of preparing it uses."""
    folder = WORK / "tokenizers" / kind
    if not folder.exists():
        from data_prep import readers, sources, tokenizer

        (part, *others) = sources.plan(sources.parse([str(text_file())])[0], "text", WORK)
        spans = [span for p in (part, *others) for span in p.spans]
        tokenizer.train(kind, lambda: (t for span in spans for t in readers.read(span, "text")), 30522, folder)
    return folder


def preparation(kind: str) -> dict[str, float]:
    """MB of text a processor second, for each way."""
    size = len("".join(json.loads(line)["text"] for line in text_file().open()).encode()) / 1e6
    tokenizer_folder(kind)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(PREPARATIONS):
        for way in WAYS:
            with tempfile.TemporaryDirectory(dir=WORK) as out:
                seconds[way].append(processor_seconds("prepare", way, kind, out))
    rates = {f"{way}, MB/s a core": size / statistics.median(times) for way, times in seconds.items()}
    ours, *others = rates.values()
    return {"text, MB": size, **rates, **{f"times {way}": ours / r for way, r in zip(WAYS[1:], others, strict=True)}}


def processor_seconds(*arguments: str) -> float:
    """User and system time of a fresh process and of those it starts."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--one", *arguments]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(way: str, kind: str, out: str) -> None:
    """Prepare the text in one of the ways, in this process."""
    {WAYS[0]: with_apollo_prep, WAYS[1]: with_datasets, WAYS[2]: one_at_a_time}[way](tokenizer_folder(kind), Path(out))


def with_apollo_prep(tokenizer: Path, out: Path) -> None:
    from data_prep.__main__ import main

    sys.argv = ["apollo-prep", "build", "--source", str(text_file()), "--tokenizer", str(tokenizer),
                "--out", str(out / "shards"), "--workers", "1"]  # fmt: skip
    main()


def with_datasets(folder: Path, out: Path) -> None:
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def group_texts(examples: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {key: list(chain(*lists)) for key, lists in examples.items()}
        total = len(joined["input_ids"]) // SEQ_LEN * SEQ_LEN
        return {key: [row[i : i + SEQ_LEN] for i in range(0, total, SEQ_LEN)] for key, row in joined.items()}

    texts = load_dataset("json", data_files=str(text_file()), split="train", cache_dir=str(out))
    tokens = texts.map(lambda rows: tokenizer(rows["text"], return_special_tokens_mask=True), batched=True,
                       batch_size=BASELINE_BATCH, remove_columns=["text"])  # fmt: skip
    tokens.map(group_texts, batched=True, batch_size=BASELINE_BATCH)


def one_at_a_time(folder: Path, out: Path) -> None:
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


# ------------------------------------------------------------------------------------------- reading and masking


def shards() -> Path:
    """The text as shards, made once."""
    folder = WORK / "shards"
    if not folder.exists():
        processor_seconds("prepare", WAYS[0], "wordpiece", str(WORK))
    return folder


def seconds_each(samples: int, functions: dict[str, Callable[[int], object]], times: int) -> dict[str, float]:
    """Median processor seconds a sample of functions that are called in turn with 0, 1, 2, ..., on one thread."""
    import torch

    torch.set_num_threads(1)
    results: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(5):
        for name, function in functions.items():
            started = time.process_time()
            for call in range(times):
                function(repeat * times + call)
            results[name].append((time.process_time() - started) / times / samples)
    return {name: statistics.median(values) for name, values in results.items()}


def source(seq_len: int, family: str, whole_words: bool = False):
    from apollo_ds.data.batches import BatchSource
    from apollo_ds.data.corpus import Corpus
    from apollo_ds.models.families import preset

    shape = preset("bert-base").model_copy(update={"family": family})
    return BatchSource(Corpus.open(shards()), shape, seq_len, 42, whole_words)


def step(number: int, seq_len: int):
    from apollo_ds.schedule.schedule import StepPlan

    return StepPlan(0, 0, (0,), (), 0, seq_len, 0.0, 0.0, first_token=number * BATCH * seq_len)


def reading(seq_len: str) -> dict[str, float]:
    """Microseconds a sample of tokens, on one core, against slices at as many random places."""
    import numpy as np

    length = int(seq_len)
    stream = source(length, "gpt2").train
    memmap = np.memmap(shards() / "train.bin", np.uint16, "r")
    array = np.asarray(memmap)
    starts = np.random.default_rng(0).integers(len(memmap) - length, size=(500, BATCH)).tolist()
    measured = seconds_each(BATCH, {
        "TokenStream.read": lambda i: stream.read((i * BATCH + np.arange(BATCH)) * length, length),
        "numpy.memmap slices": lambda i: np.stack([memmap[s : s + length] for s in starts[i]]).astype(np.int64),
        "array slices": lambda i: np.stack([array[s : s + length] for s in starts[i]]).astype(np.int64),
    }, times=100)  # fmt: skip
    ours, memmap_slices, array_slices = (1e6 * seconds for seconds in measured.values())
    return {"TokenStream.read, us": ours, "numpy.memmap slices, us": memmap_slices, "array slices, us": array_slices,
            "in memmap slices": ours / memmap_slices, "in array slices": ours / array_slices}  # fmt: skip


def training(family: str) -> dict[str, float]:
    """Samples a second that one core reads and masks, against those that all cores train at the least depth."""
    from apollo_ds.config.load import load_recipe
    from apollo_ds.engine.engine import Engine
    from apollo_ds.engine.processes import Processes
    from apollo_ds.models.pretraining import build

    source_ = source(SEQ_LEN, family)
    batches = seconds_each(
        BATCH, {"ours": lambda i: source_.micro_batches(step(i, SEQ_LEN), BATCH, BATCH, 0, 1)}, times=50
    )
    environment = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29611"}  # fmt: skip
    os.environ.update(environment)
    processes = Processes.join()
    overrides = ["method=scratch", f"model.family={family}", "model.num_layers=3", "micro_batch_size=32"]
    recipe = load_recipe(Path("launch/recipes/bert-small-cpu.yaml"), overrides)
    engine = Engine(build(recipe.model, 3, 1), recipe, processes)
    batch = source_.micro_batches(step(0, SEQ_LEN), 32, 32, 0, 1)
    plan = recipe.schedule().at(0)
    trained = seconds_each(32, {"training": lambda i: engine.train_step(batch, [plan] * len(batch))}, times=4)
    processes.leave()
    reads, trains = 1 / batches["ours"], len(os.sched_getaffinity(0)) / trained["training"]
    return {"batches, samples/s": reads, "training, samples/s": trains, "times": reads / trains}


def masking(rule: str) -> dict[str, float]:
    """Microseconds a sample of 128 tokens that is in memory, on one core; the collator chooses tokens in both cases."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling

    ours = source(SEQ_LEN, "bert", whole_words=rule == "whole_word")
    positions = np.arange(32) * SEQ_LEN
    tokens = ours.train.read(positions, SEQ_LEN)
    collate = DataCollatorForLanguageModeling(AutoTokenizer.from_pretrained(shards() / "tokenizer"))
    special = np.isin(tokens, ours.corpus.special_tokens).astype(int)
    lists = [{"input_ids": t.tolist(), "special_tokens_mask": s.tolist()} for t, s in zip(tokens, special, strict=True)]
    tensors = [{k: torch.tensor(v) for k, v in row.items()} for row in lists]
    measured = seconds_each(32, {
        "ours": lambda i: ours._masked(tokens.copy(), positions + i * 32 * SEQ_LEN, 42),
        "collator, lists": lambda i: collate([dict(row) for row in lists]),
        "collator, tensors": lambda i: collate([dict(row) for row in tensors]),
    }, times=30)  # fmt: skip
    mine, from_lists, from_tensors = (1e6 * seconds for seconds in measured.values())
    return {"apollo_ds, us": mine, "collator fed lists, us": from_lists, "collator fed tensors, us": from_tensors,
            "times, lists": from_lists / mine, "times, tensors": from_tensors / mine}  # fmt: skip


# ------------------------------------------------------------------------------------------------------ full size


def full_size(seq_len: str) -> dict[str, float]:
    """Opening a set of 5 billion tokens for the first time and again, and random samples of it."""
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        simulate(Path(folder))
        first, *again = (measure_full_size(folder, seq_len) for _ in range(1 + REPEATS))
    later = {key: statistics.median(run[key] for run in again) for key in first}
    return {"first opening, s": first["opening"], "later opening, s": later["opening"],
            "next epoch, s": later["next epoch"], "samples/s": later["samples/s"],
            "peak resident, MB": max(first["resident"], later["resident"]) / 1e6,
            "of it own (not files), MB": later["own"] / 1e6}  # fmt: skip


def simulate(folder: Path) -> None:
    """An index of 7 million documents, and tokens that are a hole in the file system."""
    from array import array

    import numpy as np

    from data_prep.shards import ShardWriter

    lengths = np.random.default_rng(0).geometric(FULL_DOCUMENTS / FULL_TOKENS, FULL_DOCUMENTS).astype(np.int32)
    writer = ShardWriter(folder / "train", 30522)
    writer.bin.truncate(2 * int(lengths.sum(dtype=np.int64)))
    writer.lengths = array("i", lengths.tobytes())
    writer.write_index()


def measure_full_size(folder: str, seq_len: str) -> dict[str, float]:
    """In a fresh process."""
    command = [sys.executable, __file__, "--one", "serve", folder, seq_len]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def serve(folder: str, seq_len: str) -> None:
    """Open, read samples of one epoch and of the next, and print seconds, rates and the peak of resident memory."""
    import numpy as np

    from apollo_ds.data.token_stream import TokenStream

    length = int(seq_len)
    started = time.perf_counter()
    stream = TokenStream(Path(folder), "train", length, seed=42)
    stream.read(np.arange(BATCH) * length, length)
    opening = time.perf_counter() - started
    started = time.perf_counter()
    for i in range(200):
        stream.read((i * BATCH + np.arange(BATCH)) * length, length)
    rate = 200 * BATCH / (time.perf_counter() - started)
    status = Path("/proc/self/status").read_text()
    memory = {line.split()[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if "kB" in line}
    started = time.perf_counter()
    other = TokenStream(Path(folder), "train", length, seed=int(time.time()))
    other.read(other.tokens_per_epoch + np.arange(BATCH) * length, length)
    shuffling = time.perf_counter() - started
    print(json.dumps({"opening": opening, "samples/s": rate, "next epoch": shuffling,
                      "resident": memory["VmHWM:"], "own": memory["RssAnon:"]}))  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- main

PARTS: dict[str, tuple[Callable[[str], dict[str, float]], tuple[str, ...]]] = {
    "preparation": (preparation, ("wordpiece", "bpe")),
    "reading": (reading, ("128", "512", "1024")),
    "training": (training, ("bert", "gpt2")),
    "masking": (masking, ("token", "whole_word")),
    "full-size": (full_size, ("128", "512")),
}


def main() -> None:
    """Measure all or some parts, each case in a process of its own, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} or a case of one")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, *arguments = options.one
        {"prepare": prepare, "serve": serve, "case": case}[name](*arguments)
        return
    path = RESULTS / "data.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for part, (_, cases) in PARTS.items():
        for name in cases:
            if not options.parts or {part, name} & set(options.parts):
                command = [sys.executable, __file__, "--one", "case", part, name]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                results.setdefault(part, {})[name] = json.loads(output.splitlines()[-1])
                print(part, name, results[part][name], flush=True)
                path.write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "data.md").write_text("\n".join(table(part, results[part]) for part in PARTS if part in results))


def case(part: str, name: str) -> None:
    """Measure one case and print it as JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        result = PARTS[part][0](name)
    print(json.dumps(result))


def table(part: str, cases: dict[str, dict[str, float]]) -> str:
    """A part's cases as Markdown."""
    columns = list(next(iter(cases.values())))
    rows = [[name, *(f"{values[column]:,.3g}" if values[column] < 1000 else f"{values[column]:,.0f}"
                     for column in columns)] for name, values in cases.items()]  # fmt: skip
    lines = [[part, *columns], ["---"] * (len(columns) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
