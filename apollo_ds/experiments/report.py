"""Write the report of a run from its folder: the result, texts that its model writes, figures and tables."""

import textwrap
from itertools import chain
from pathlib import Path

from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.figures import draw
from apollo_ds.experiments.compare.labels import Names
from apollo_ds.experiments.compare.page import figure_lines, sections, write_markdown
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.outcome import outcome
from apollo_ds.experiments.training_figure import draw_training
from data_prep import files

_FIRST = ("loss_against_flops.png", "depth_and_loss.png", "loss_around_growth.png")
"""The figures at the top of the report, if they exist."""
_MOST_SAMPLES = 3
_ENDED = "(it ends the text here)"
_LINE = 90
"""The most characters of a line of a sample."""


def write_report(folder: Path, out: Path) -> Path:
    """Write report.md and its figures for one run, and return the page's path. The run's folder must be claimed.

    Unfinished files of an earlier process that was killed are removed.

    Raises:
        UserError: the folder is not a run, or `out` cannot be written to.
    """
    for left in out.glob(f"*{files.UNFINISHED}"):
        left.unlink(missing_ok=True)
    comparison = Comparison.of([folder])
    (run,) = comparison.baseline.runs
    figures = draw(comparison.groups, comparison.baseline, comparison.target)
    figures["depth_and_loss.png"] = draw_training(run, Names.of(comparison.groups).title)
    first = [name for name in _FIRST if name in figures]
    lines = [outcome(run), "", *_samples(run), *figure_lines(first), "## Details", "", *sections(comparison)]
    lines += ["## Against text and time", "", *figure_lines(name for name in figures if name not in first)]
    return write_markdown(out / "report.md", folder.name, lines, figures)


def _samples(run: RunHistory) -> list[str]:
    """The lines with the texts that the model wrote last, under a heading. Empty if it wrote none."""
    samples = run.samples.get("samples", [])[:_MOST_SAMPLES]
    if not samples:
        return []
    told = f"Behind each arrow is what the model writes after step {run.samples['step']:,}."
    blocks = [_quoted(sample["prompt"], f"\u2192 {sample['text'].strip() or _ENDED}") for sample in samples]
    return ["## What it writes", "", told, "", *chain(*blocks)]


def _quoted(*passages: str) -> list[str]:
    """Texts as a block of Markdown in which nothing is markup, with lines that fit a page and a terminal."""
    lines = [line for passage in passages for line in passage.splitlines()]
    wrapped = [part for line in lines for part in textwrap.wrap(line, _LINE) or [""]]
    fence = "```"
    while any(fence in line for line in wrapped):
        fence += "`"
    return [f"{fence}text", *wrapped, fence, ""]
