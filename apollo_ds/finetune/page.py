"""Write results as a page, and print them in a terminal."""

from pathlib import Path

from rich.console import Console

from apollo_ds.experiments.compare.text import NOTHING, Table
from apollo_ds.finetune.results import AtRate, Results, Spread
from data_prep.counted import counted


def show(results: Results, console: Console) -> None:
    """Print the results of each learning rate, and of always giving the most frequent label."""
    console.print(headline(results))
    console.print(rates_table(results))
    for remark in _remarks(results):
        console.print(remark)


def write_page(results: Results) -> Path:
    """Write results.md beside results.json, and return its path.

    Raises:
        UserError: the file cannot be written.
    """
    from apollo_ds.experiments.compare.page import write_markdown  # imports matplotlib

    lines = [headline(results), "", *rates_table(results).markdown()]
    lines += [line for remark in _remarks(results) for line in (remark, "")]
    lines += ["## Every training", "", *_every_training(results).markdown()]
    lines += ["## Made with", "", *_settings(results).markdown()]
    title = f"{results.values['task']}: {results.values['model']}"
    return write_markdown(results.path.with_name("results.md"), title, lines, figures={})


def headline(results: Results) -> str:
    """The result in one sentence."""
    best = results.best(results.rates())
    spread = best.metrics[results.headline]
    count = len(best.seeds)
    seeds = f"median of {count} seeds, from {percent(spread.min)} to {percent(spread.max)}" if count > 1 else "one seed"
    return f"{results.headline} {percent(spread.median)} ({seeds}) at learning rate {best.learning_rate:g}"


def rates_table(results: Results) -> Table:
    """The table of results, with a row for each learning rate."""
    names = results.values["metrics"]
    rows = [_rate_row(rate, names) for rate in results.rates()]
    baseline = results.values["baseline"]
    if baseline:
        rows.append(["most frequent label", NOTHING, *(percent(baseline[name]) for name in names)])
    return Table(["learning rate", "seeds", *names], rows)


def _rate_row(rate: AtRate, names: list[str]) -> list[str]:
    return [f"{rate.learning_rate:g}", str(len(rate.seeds)), *(_spread(rate.metrics[name]) for name in names)]


def _spread(spread: Spread) -> str:
    if spread.min == spread.max:
        return percent(spread.median)
    return f"{percent(spread.median)} ({percent(spread.min)} to {percent(spread.max)})"


def percent(value: float) -> str:
    """A metric as in GLUE's tables: times 100."""
    return f"{100 * value:.1f}"


def _remarks(results: Results) -> list[str]:
    sizes = results.values["sizes"]
    dev = " and ".join(f"{count:,}" for name, count in sizes.items() if name != "train")
    remarks = [
        f"Median (lowest to highest) over seeds, times 100, on {dev} held-out examples, after "
        f"{counted(results.settings.epochs, 'epoch')} over {sizes['train']:,} training examples."
    ]
    tried = len(results.rates())
    if tried > 1:
        remarks.append(
            f"The learning rate is the best of {tried} on the same held-out examples, so the result is a little too "
            "good."
        )
    baseline = results.values["baseline"]
    if baseline and results.best(results.rates()).metrics[results.headline].median <= baseline[results.headline]:
        remarks.append("Not better than always giving the most frequent label: this shows no learning.")
    return remarks


def _every_training(results: Results) -> Table:
    """The table of metrics after each epoch."""
    names = results.values["metrics"]
    rows = [
        [
            f"{run['learning_rate']:g}",
            str(run["seed"]),
            str(epoch["epoch"]),
            _loss(epoch["loss"]),
            *(percent(epoch["metrics"][name]) for name in names),
        ]
        for run in results.runs
        for epoch in run["epochs"]
    ]
    return Table(["learning rate", "seed", "epoch", "training loss", *names], rows)


def _loss(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.4f}"


def _settings(results: Results) -> Table:
    made = {**results.values["settings"], **results.values["machine"]}
    return Table(["", ""], [[key.replace("_", " "), str(value)] for key, value in made.items() if value is not None])
