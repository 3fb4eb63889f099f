"""What a run gave: tables and figures, made from its folder alone."""

from pathlib import Path

from matplotlib.figure import Figure

from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.figures import draw
from apollo_ds.experiments.compare.page import sections, write_markdown
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.style import GREY, new_figure
from data_prep import files


def write_report(folder: Path, out: Path) -> Path:
    """Write report.md and its figures for one run, whose folder is claimed; returns the page's path.

    What an earlier process left of them when it was killed goes.

    Raises:
        UserError: the folder is not a run's, or `out` cannot be written to.
    """
    for left in out.glob(f"*{files.UNFINISHED}"):
        left.unlink(missing_ok=True)
    comparison = Comparison.of([folder])
    (run,) = comparison.baseline.runs
    figures = draw(comparison.groups, comparison.baseline, comparison.target)
    figures["depth_and_loss.png"] = _training(run)
    return write_markdown(out / "report.md", folder.name, sections(comparison), figures)


def _training(run: RunHistory) -> Figure:
    """Training loss of each step, coloured by the depth it ran at: deeper passes of shared layers are harder."""
    figure, axes = new_figure()
    finite = [e for e in run.steps if e["loss"] is not None]
    points = axes.scatter(
        [e["step"] for e in finite],
        [e["loss"] for e in finite],
        c=[e["depth"] for e in finite],
        cmap="viridis",
        s=5,
        linewidths=0,
        rasterized=True,
    )
    for growth in run.growths:
        axes.axvline(growth["step"], color=GREY, linewidth=0.8, linestyle="--")
    figure.colorbar(points, label="layers run", pad=0.01)
    axes.set(xlabel="step", ylabel="training loss (nats per token)")
    return figure
