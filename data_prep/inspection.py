"""Show a person what is in a folder of shards."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from tokenizers import Tokenizer

from data_prep.figure_style import COLOURS, GREY, empty_figure, legend_below, save_picture, style_axes
from data_prep.manifest import Manifest
from data_prep.masking import MASKED_FRACTION, Masking, word_continuations
from data_prep.own_fault import sentence_of
from data_prep.shards import Shards
from data_prep.summary import summarize
from data_prep.verify import told_of_no_hash, verify

PICTURE = "lengths.png"
TITLE = "Lengths of documents, by apollo-prep inspect"
"""The title stored in the picture. It tells the picture from a user's file of the same name."""
SAMPLES = 3
SAMPLE_TOKENS = 64
BAR = 40
BINS = 30

Lengths = npt.NDArray[np.int32]


def inspect(folder: Path, console: Console) -> None:
    """Check the shards, then show counts, document lengths (also as a picture in the folder) and samples.

    Raises:
        DataError: a file is missing or damaged. The message names it.
    """
    manifest = verify(folder)
    console.print(f"{folder}: every file is as it was written", highlight=False, soft_wrap=True)
    if sentence := told_of_no_hash(folder, manifest):
        console.print(sentence, highlight=False, soft_wrap=True)
    summarize(manifest, console)
    splits = {name: Shards.open(manifest.pairs(folder, name)) for name in manifest.splits}
    lengths = {name: shards.lengths for name, shards in splits.items()}
    _show_lengths(lengths["train"], console)
    console.print(_draw(lengths, folder / PICTURE), highlight=False, soft_wrap=True)
    _show_samples(splits["train"], folder, manifest, console)


def _edges(lengths: Lengths) -> npt.NDArray[np.int64]:
    """The edges of a histogram: powers of two, from below the shortest length to above the longest."""
    return 2 ** np.arange(int(np.log2(lengths.min())), int(np.log2(lengths.max())) + 2)


def _show_lengths(lengths: Lengths, console: Console) -> None:
    edges = _edges(lengths)
    counts, _ = np.histogram(lengths, edges)
    console.print("tokens a document      documents", style="bold", highlight=False)
    for low, high, count in zip(edges[:-1], edges[1:] - 1, counts, strict=True):
        bar = "█" * int(np.ceil(BAR * count / counts.max()))
        console.print(f"{low:>9,} to {high:>9,} {count:>11,} {bar}", highlight=False)
    quartiles = ", ".join(f"{q:,.0f}" for q in np.percentile(lengths, [25, 50, 75]))
    console.print(f"quartiles {quartiles}; longest {lengths.max():,}", highlight=False)


def _draw(lengths: dict[str, Lengths], path: Path) -> str:
    """Draw the picture. It replaces only an earlier one. Return a line that says where it is, or why there is none."""
    try:
        if os.path.lexists(path) and not _is_ours(path):
            return f"no picture: {path} exists and is not from apollo-prep: move it to another place"
        _draw_lengths(lengths, path)
    except OSError as error:
        return f"no picture: {sentence_of(error, path.parent)}"
    return f"the same as a picture: {path}"


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.info.get("Title") == TITLE
    except UnidentifiedImageError:
        return False


def _draw_lengths(lengths: dict[str, Lengths], path: Path) -> None:
    """Draw which share of the documents, and which share of the tokens, has which length."""
    figure = empty_figure(9.0, 3.2)
    panels = figure.subplots(1, 2)
    everything = np.concatenate(list(lengths.values()))
    bins = np.geomspace(everything.min(), everything.max() + 1, BINS)
    for panel, what, power in zip(panels, ("documents", "tokens"), (0, 1), strict=True):
        style_axes(panel)
        for number, (name, part) in enumerate(lengths.items()):
            share = part.astype(float) ** power
            look = {"histtype": "step", "color": COLOURS[number], "linewidth": 1.2}
            look = look if number else {"color": GREY, "alpha": 0.5}
            label = f"{name}: {len(part):,} documents, {part.sum():,} tokens"
            panel.hist(part, bins, weights=100 * share / share.sum(), label=label, **look)
        panel.set(xscale="log", xlabel="tokens a document", ylabel=f"% of {what}")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    handles, labels = panels[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, columns=2)
    save_picture(figure, path, TITLE)


def _show_samples(shards: Shards, folder: Path, manifest: Manifest, console: Console) -> None:
    """Show windows of the training tokens, at places drawn with a fixed seed. For BERT, also show one masked."""
    path = folder / manifest.tokenizer_json
    tokenizer = Tokenizer.from_file(str(path))
    random = np.random.default_rng(0)
    last = max(manifest.splits["train"].tokens - SAMPLE_TOKENS, 0)
    starts = random.integers(last, size=SAMPLES, endpoint=True)
    windows = [_window(shards, int(start)) for start in starts]
    for start, window in zip(starts, windows, strict=True):
        text = tokenizer.decode(window.tolist(), skip_special_tokens=False)
        console.print(f"training tokens {start:,} to {start + SAMPLE_TOKENS:,}", style="bold", highlight=False)
        console.print(text, markup=False, highlight=False)
    facts = manifest.tokenizer
    if facts.mask is None or facts.cls is None:
        return
    sample = windows[0].astype(np.int64)[None, :]
    continuations = {"token": None, "whole_word": word_continuations(path)}
    for name, continues in continuations.items():
        if name == "token" or continues:
            masking = Masking.of(facts.vocab_size, facts.mask, facts.special, continues)
            console.print(f"the first of them under masking: {name}", style="bold", highlight=False)
            _show_masked(sample, masking, facts.cls, tokenizer, random, console)


def _window(shards: Shards, start: int) -> npt.NDArray[Any]:
    """The tokens of a sample from a place of the stream on. They may span several documents."""
    ends = np.cumsum(shards.lengths, dtype=np.int64)
    first, last = np.searchsorted(ends, [start, start + SAMPLE_TOKENS - 1], side="right")
    inside = start - int(ends[first] - shards.lengths[first])
    documents = slice(first, last + 1)
    return shards.read(shards.first_tokens[documents], shards.lengths[documents].astype(np.int64))[
        inside : inside + SAMPLE_TOKENS
    ]


def _show_masked(
    window: npt.NDArray[np.int64],
    masking: Masking,
    cls: int,
    tokenizer: Tokenizer,
    random: np.random.Generator,
    console: Console,
) -> None:
    """Show a sample, shape (1, tokens), as BERT sees it in training, and the tokens that it has to predict."""
    shown = window.copy()
    shown[:, 0] = cls
    bits = random.integers(2**64, size=shown.shape, dtype=np.uint64)
    chosen = masking.choose(shown, bits, max(1, round(MASKED_FRACTION * shown.size)))
    masking.show(shown, chosen, random.random(chosen.shape), ignored=-1)
    console.print(tokenizer.decode(shown[0].tolist(), skip_special_tokens=False), markup=False, highlight=False)
    words, seen = ([str(tokenizer.id_to_token(int(i))) for i in sample[0, chosen[0]]] for sample in (window, shown))
    mask = tokenizer.id_to_token(masking.mask_token)
    told = [word if see == mask else f"{word} (shown: {see})" for word, see in zip(words, seen, strict=True)]
    console.print(f"to predict: {', '.join(told)}", markup=False, highlight=False)
