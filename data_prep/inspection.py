"""What is in a folder of shards, for a person to look at."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from rich.console import Console
from tokenizers import Tokenizer

from data_prep.encode import token_dtype
from data_prep.summary import summarize
from data_prep.verify import read_manifest, verify

PICTURE = "lengths.png"
SAMPLES = 3
SAMPLE_TOKENS = 64
BAR = 40

Lengths = npt.NDArray[np.int32]


def inspect(folder: Path, console: Console) -> None:
    """Check the hashes, then show counts, document lengths (also as a picture in the folder) and samples.

    Raises:
        DataError: a file is missing or damaged.
    """
    verify(folder)
    console.print(f"{folder}: every file is as it was written", highlight=False, soft_wrap=True)
    manifest = read_manifest(folder)
    summarize(manifest, console)
    lengths = {name: _lengths(folder / name) for name in manifest["splits"]}
    _show_lengths(lengths["train"], console)
    _draw_lengths(lengths, folder / PICTURE)
    console.print(f"the same as a picture: {folder / PICTURE}", highlight=False, soft_wrap=True)
    _show_samples(folder, manifest, console)


def _lengths(prefix: Path) -> Lengths:
    """The tokens of each document; copied, as megatron-core unmaps the file when the data set goes."""
    with warnings.catch_warnings(action="ignore"):
        from megatron.core.datasets.indexed_dataset import IndexedDataset
    shard = IndexedDataset(str(prefix))
    return shard.sequence_lengths.copy()


def _edges(lengths: Lengths) -> npt.NDArray[np.int64]:
    """Powers of two from below the shortest to above the longest."""
    return 2 ** np.arange(int(np.log2(lengths.min())), int(np.log2(lengths.max())) + 2)


def _show_lengths(lengths: Lengths, console: Console) -> None:
    edges = _edges(lengths)
    counts, _ = np.histogram(lengths, edges)
    console.print("[bold]tokens a document      documents[/bold]")
    for low, high, count in zip(edges[:-1], edges[1:] - 1, counts, strict=True):
        bar = "█" * int(np.ceil(BAR * count / counts.max()))
        console.print(f"{low:>9,} to {high:>9,} {count:>11,} {bar}", highlight=False)
    quartiles = ", ".join(f"{q:,.0f}" for q in np.percentile(lengths, [25, 50, 75]))
    console.print(f"quartiles {quartiles}; longest {lengths.max():,}", highlight=False)


def _draw_lengths(lengths: dict[str, Lengths], path: Path) -> None:
    """Draw how many documents, and how many of the tokens, are of which length."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    everything = np.concatenate(list(lengths.values()))
    bins = np.geomspace(everything.min(), everything.max() + 1, 50)
    for panel, what, power in zip(panels, ("documents", "tokens"), (0, 1), strict=True):
        for name, part in lengths.items():
            share = part.astype(float) ** power
            panel.hist(part, bins, weights=100 * share / share.sum(), alpha=0.6, label=f"{name}, {len(part):,}")
        panel.set(xscale="log", xlabel="tokens a document", ylabel=f"% of {what}")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def _show_samples(folder: Path, manifest: dict[str, Any], console: Console) -> None:
    """Show windows of the training stream at places drawn with a fixed seed."""
    tokenizer = Tokenizer.from_file(str(folder / manifest["tokenizer"]["path"] / "tokenizer.json"))
    tokens = np.memmap(folder / "train.bin", token_dtype(manifest["tokenizer"]["vocab_size"]), mode="r")
    last = max(len(tokens) - SAMPLE_TOKENS, 0)
    for start in np.random.default_rng(0).integers(last, size=SAMPLES, endpoint=True):
        text = tokenizer.decode(tokens[start : start + SAMPLE_TOKENS].tolist(), skip_special_tokens=False)
        console.print(f"[bold]training tokens {start:,} to {start + SAMPLE_TOKENS:,}[/bold]", highlight=False)
        console.print(text, markup=False, highlight=False)
