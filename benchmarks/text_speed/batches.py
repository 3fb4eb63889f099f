"""Measures on one thread how fast samples are read and masked, and compares that with what training consumes."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from apollo_ds.models.pretraining import skeleton
from text_speed.texts import shards

if TYPE_CHECKING:
    from apollo_ds.data.batches import BatchSource
    from apollo_ds.data.text import Text

BATCH = 256
_SEQ_LEN = 128
_TRAINED_AT_ONCE = 32
_ROUNDS = 5
_RECIPE = Path("launch/recipes/bert-small-cpu.yaml")


def reading(seq_len: str) -> dict[str, float]:
    """Microseconds a sample of tokens, on one core, against other readers at as many random places.

    megatron-core's reader need not look up where a sample is, nor join pieces, since each sample is within a document.
    """
    import numpy as np

    from data_prep.indexed import open_split

    length = int(seq_len)
    stream, split = _source(length, "gpt2").train, open_split(shards() / "train")
    memmap = np.memmap(shards() / "train.bin", np.uint16, "r")
    array = np.asarray(memmap)
    random = np.random.default_rng(0)
    starts = random.integers(len(memmap) - length, size=(500, BATCH)).tolist()
    documents = random.choice(np.flatnonzero(split.sequence_lengths > length), size=(500, BATCH))
    offsets = random.integers(split.sequence_lengths[documents] - length)
    places = np.stack([documents, offsets], axis=-1).tolist()
    functions: dict[str, Callable[[int], object]] = {
        "TokenStream.read": lambda i: stream.read((i * BATCH + np.arange(BATCH)) * length, length),
        "IndexedDataset.get": lambda i: np.stack([split.get(d, o, length) for d, o in places[i]]).astype(np.int64),
        "numpy.memmap slices": lambda i: np.stack([memmap[s : s + length] for s in starts[i]]).astype(np.int64),
        "array slices": lambda i: np.stack([array[s : s + length] for s in starts[i]]).astype(np.int64),
    }
    seconds = _seconds_each(BATCH, functions, times=100)
    ours, dataset, memmap_slices, array_slices = (1e6 * of for of in seconds.values())
    return {
        "TokenStream.read, us": ours,
        "IndexedDataset.get, us": dataset,
        "numpy.memmap slices, us": memmap_slices,
        "array slices, us": array_slices,
        "in IndexedDataset.get": ours / dataset,
        "in memmap slices": ours / memmap_slices,
        "in array slices": ours / array_slices,
    }


def training(family: str) -> dict[str, float]:
    """Samples a second that one core reads and masks, against those that all cores train at the least depth."""
    from speed.pacing import join_alone

    from apollo_ds.config.load import load_recipe
    from apollo_ds.engine.engine import Engine

    source, size = _source(_SEQ_LEN, family), _TRAINED_AT_ONCE
    read = {"ours": lambda i: source.micro_batches(i * BATCH * _SEQ_LEN, _SEQ_LEN, BATCH, BATCH, 0, 1)}
    batches = _seconds_each(BATCH, read, times=50)
    processes = join_alone()
    overrides = ["method=scratch", f"model.family={family}", "model.num_layers=3", f"micro_batch_size={size}"]
    recipe = load_recipe(_RECIPE, overrides).settled(processes.computes_bf16, processes.world_size)
    engine = Engine(skeleton(recipe.model, 3), recipe.engine_options(processes.world_size), processes, seed=1)
    batch, plan = source.micro_batches(0, _SEQ_LEN, size, size, 0, 1), recipe.schedule().at(0)
    trained = _seconds_each(size, {"training": lambda i: engine.train_step(batch, [plan] * len(batch))}, times=4)
    processes.leave()
    reads, trains = 1 / batches["ours"], len(os.sched_getaffinity(0)) / trained["training"]
    return {"batches, samples/s": reads, "training, samples/s": trains, "times": reads / trains}


def masking(rule: str) -> dict[str, float]:
    """Microseconds a sample of 128 tokens that is in memory, on one core; the collator chooses tokens in both cases."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling

    ours = _source(_SEQ_LEN, "bert", whole_words=rule == "whole_word")
    positions = np.arange(32) * _SEQ_LEN
    tokens = ours.train.read(positions, _SEQ_LEN)
    collate = DataCollatorForLanguageModeling(AutoTokenizer.from_pretrained(shards() / "tokenizer"))
    special = np.isin(tokens, ours.vocabulary.special_tokens).astype(int)
    lists = [{"input_ids": t.tolist(), "special_tokens_mask": s.tolist()} for t, s in zip(tokens, special, strict=True)]
    tensors = [{k: torch.tensor(v) for k, v in row.items()} for row in lists]
    functions: dict[str, Callable[[int], object]] = {
        "ours": lambda i: ours._masked(tokens.copy(), positions + i * 32 * _SEQ_LEN, 42),
        "collator, lists": lambda i: collate([dict(row) for row in lists]),
        "collator, tensors": lambda i: collate([dict(row) for row in tensors]),
    }
    mine, from_lists, from_tensors = (1e6 * seconds for seconds in _seconds_each(32, functions, times=30).values())
    return {
        "apollo_ds, us": mine,
        "collator fed lists, us": from_lists,
        "collator fed tensors, us": from_tensors,
        "times, lists": from_lists / mine,
        "times, tensors": from_tensors / mine,
    }


def _seconds_each(samples: int, functions: Mapping[str, Callable[[int], object]], times: int) -> dict[str, float]:
    """Median processor seconds a sample of functions that are called in turn with 0, 1, 2, ..., on one thread."""
    import torch

    torch.set_num_threads(1)
    results: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(_ROUNDS):
        for name, function in functions.items():
            started = time.process_time()
            for call in range(times):
                function(repeat * times + call)
            results[name].append((time.process_time() - started) / times / samples)
    return {name: statistics.median(values) for name, values in results.items()}


def _source(seq_len: int, family: str, whole_words: bool = False) -> "BatchSource":
    from apollo_ds.data.batches import BatchSource
    from apollo_ds.models.families import preset

    shape = preset("bert-base").model_copy(update={"family": family})
    return BatchSource(Text.open(shards()), shape, seq_len, 42, whole_words)
