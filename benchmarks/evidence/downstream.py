"""Whether what growing saves holds downstream: models of a question's runs, fine-tuned, and the page made from that.

    python benchmarks/evidence/downstream.py --glue ../glue       every fine-tuning that is not recorded, and the record

`downstream/SCALE.yaml` names the runs, which must have been trained here, the tasks and the rates. Each model is
fine-tuned at every rate with one seed, and at the best with all seeds, two models at a time with a core each. What that
came to is recorded in the folder downstream/SCALE, a line a training; `evidence.py pages` makes the page from it.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from questions import DOWNSTREAM, HERE, conclusion
from records import read, split
from table import Row, flat, is_table, nested, read_rows, write_rows

from apollo_ds.experiments.compare.labels import factored
from apollo_ds.experiments.compare.text import NOTHING, Table
from apollo_ds.experiments.history import RunHistory
from apollo_ds.finetune.results import Results
from apollo_ds.finetune.settings import Settings
from data_prep.figure_style import (
    GREY,
    SMALL,
    WIDTH,
    broken,
    empty_figure,
    line_style,
    save_picture,
    set_title,
    style_axes,
)

RUNS = Path("runs/evidence")
ON_CPU = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
TASKS = {"cola": "CoLA", "sst2": "SST-2", "rte": "RTE"}
"""Each task's folder, as GLUE names it."""
_LETTERS = 16
"""Of a line of a model's name below its column."""
_FIRST = ("model", "task", "learning_rate", "seed")
_ABOUT = ("metrics", "sizes", "baseline", "machine", "settings")
"""What results.json says of all trainings of a model on a task."""


@dataclass(frozen=True)
class Plan:
    """A scale's file."""

    path: Path
    models: tuple[str, ...]
    """Runs, as QUESTION/GRID/RUN; the first is that from scratch."""
    learning_rates: tuple[float, ...]
    seeds: int
    epochs: int
    max_length: int

    @classmethod
    def read(cls, path: Path) -> "Plan":
        values = yaml.safe_load(path.read_text())
        lists = {key: tuple(values.pop(key)) for key in ("models", "learning_rates")}
        return cls(path=path, **lists, **values)

    @property
    def record(self) -> Path:
        """The folder of its record."""
        return self.path.with_suffix("")

    def trained(self, model: str, task: str) -> Path:
        """The folder in which a model is fine-tuned."""
        return RUNS / DOWNSTREAM / self.path.stem / Path(model).name / task


def main() -> None:
    """Fine-tune what is not done, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue", type=Path, required=True, help="the folder of CoLA, SST-2 and RTE")
    options = parser.parse_args()
    os.environ.update(ON_CPU)
    for path in sorted((HERE / DOWNSTREAM).glob("*.yaml")):
        plan = Plan.read(path)
        recorded = read_record(plan)
        jobs = [job for job in product(plan.models, TASKS) if not _is_done(plan, recorded.get(job))]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(_export, sorted({model for model, _ in jobs})))
            list(pool.map(lambda job, plan=plan: _fine_tune(plan, *job, options.glue), jobs))
        record(plan)


def _export(model: str) -> None:
    if not (RUNS / model / "export").exists():
        _command("export", str(RUNS / model), str(RUNS / model / "export"))


def _fine_tune(plan: Plan, model: str, task: str, glue: Path) -> None:
    """Every rate with one seed, then the best with all seeds; results that are there are not made again."""
    folder = plan.trained(model, task)
    words = ["finetune", str(RUNS / model), "--task", task, "--data", str(glue / TASKS[task]), "--out", str(folder)]
    words += ["--epochs", str(plan.epochs), "--max-length", str(plan.max_length)]
    _command(*words, "--seeds", "1", "--learning-rate", *map(str, plan.learning_rates))
    # With one seed at each, the first of the best is what all seeds then run at.
    searched = json.loads((folder / "results.json").read_text())
    by_rate = {
        run["learning_rate"]: run["final"][searched["metrics"][0]] for run in searched["runs"] if run["seed"] == 1
    }
    best = max(by_rate, key=lambda rate: by_rate[rate])
    _command(*words, "--seeds", str(plan.seeds), "--learning-rate", str(best))
    print(f"{plan.path.stem} {Path(model).name} {task}: done", flush=True)


def _command(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "apollo_ds", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"apollo-ds {' '.join(words)}: {done.stdout}{done.stderr}")


def record(plan: Plan) -> None:
    """Add the trainings that have folders to the record, in place of those of the same model and task."""
    found = {}
    for model, task in product(plan.models, TASKS):
        path = plan.trained(model, task) / "results.json"
        if path.is_file():
            found[Path(model).name, task] = _rows(Path(model).name, task, json.loads(path.read_text()))
    before = read_rows(plan.record) if is_table(plan.record) else []
    rows = [row for row in before if (row["model"], row["task"]) not in found]
    rows += [row for of_task in found.values() for row in of_task]
    if rows:
        write_rows(plan.record, sorted(rows, key=lambda row: [row[key] for key in _FIRST]), _FIRST)


def _rows(model: str, task: str, results: dict[str, Any]) -> list[Row]:
    about = flat({key: results[key] for key in _ABOUT})
    return [
        {
            "model": model,
            "task": task,
            **{key: run[key] for key in ("learning_rate", "seed")},
            **flat({"final": run["final"]}),
            "loss": run["epochs"][-1]["loss"],
            "seconds": run["seconds"],
            **about,
        }
        for run in results["runs"]
    ]


def read_record(plan: Plan) -> dict[tuple[str, str], Results]:
    """The results of each model on each task that has some."""
    rows = read_rows(plan.record) if is_table(plan.record) else []
    found = {}
    for model, task in product(plan.models, TASKS):
        of_task = [nested(row.items()) for row in rows if (row["model"], row["task"]) == (Path(model).name, task)]
        if of_task:
            about = {key: of_task[0][key] for key in _ABOUT}
            found[model, task] = Results(plan.record, Settings(**about["settings"]), {**about, "runs": of_task})
    return found


def _is_done(plan: Plan, results: Results | None) -> bool:
    return results is not None and len(results.best(results.rates()).seeds) == plan.seeds


def write(folder: Path) -> None:
    """Write README.md: the question, the conclusion, and a table and a picture for each scale that has results."""
    lines = [(folder / "question.md").read_text().rstrip(), "", *conclusion(folder), ""]
    for plan in (Plan.read(path) for path in sorted(folder.glob("*.yaml"))):
        results = read_record(plan)
        if not all(_is_done(plan, results.get(job)) for job in product(plan.models, TASKS)):
            continue
        scale, (pretrained, under_way) = plan.path.stem, split(_pretrained(plan))
        if under_way:
            of = f"{len(under_way)} of the {len(plan.models)} models of `{scale}`"
            lines += [f"## {scale}", "", f"**Left out: pretraining of {of} was under way when it was recorded.**", ""]
            continue
        save_picture(_draw(plan, results), plan.record / "scores.png")
        lines += [f"## {scale}", "", f"{_in_words(plan, pretrained[0])} {_sizes(plan, results)}", ""]
        lines += ["```console", "$ python benchmarks/evidence/downstream.py --glue GLUE"]
        lines += ["$ python benchmarks/evidence/evidence.py pages", "```", ""]
        lines += _table(plan, pretrained, results).markdown()
        lines += [f"![Each seed's result on the held-out examples]({scale}/scores.png)", ""]
        lines += [
            f"The plan is [{plan.path.name}]({plan.path.name}), its record [{scale}/runs.csv]({scale}/runs.csv).",
            "",
        ]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def _pretrained(plan: Plan) -> list[RunHistory]:
    """The runs of its models, from the records of their grids."""
    grids = {grid: read(HERE / grid) for grid in {str(Path(model).parent) for model in plan.models}}
    by_name = {f"{grid}/{run.folder}": run for grid, runs in grids.items() for run in runs}
    return [by_name[model] for model in plan.models]


def _in_words(plan: Plan, pretrained: RunHistory) -> str:
    shape = pretrained.recipe["model"]
    return (
        f"{shape['family']}, {shape['num_layers']} layers x {shape['hidden_size']}, fine-tuned (epochs: {plan.epochs})"
        f" on sentences of up to {plan.max_length} tokens; the median of {plan.seeds} seeds, the lowest and the highest"
        f", times 100, at the best of {len(plan.learning_rates)} learning rates, looked for with one seed. Each row is "
        "one pretrained model, so that what another seed of pretraining would change is not in the spread."
    )


def _sizes(plan: Plan, results: dict[tuple[str, str], Results]) -> str:
    sizes = {TASKS[task]: results[plan.models[0], task].values["sizes"] for task in TASKS}
    told = ", ".join(f"{task} {of['train']:,} and {of['dev']:,}" for task, of in sizes.items())
    return f"Examples to train on and held out: {told}."


def _table(plan: Plan, pretrained: list[RunHistory], results: dict[tuple[str, str], Results]) -> Table:
    names = {task: f"{TASKS[task]}, {results[plan.models[0], task].headline}" for task in TASKS}
    full = pretrained[0].final.cost.flops
    rows = []
    for model, run in zip(plan.models, pretrained, strict=True):
        scores = [_score(results[model, task]) for task in TASKS]
        rows.append([Path(model).name, f"{run.final.cost.flops / full:.1%}", f"{run.final.loss:.4f}", *scores])
    guesses = [f"{100 * _guess(results[plan.models[0], task]):.1f}" for task in TASKS]
    rows.append(["most frequent label", NOTHING, NOTHING, *guesses])
    return Table(("pretrained", "cost", "held-out loss", *names.values()), rows)


def _guess(results: Results) -> float:
    """Return the score of always giving the most frequent label."""
    return float(results.values["baseline"][results.headline])


def _score(results: Results) -> str:
    spread = results.best(results.rates()).metrics[results.headline]
    return f"{100 * spread.median:.1f} ({100 * spread.min:.1f} to {100 * spread.max:.1f})"


def _scores(results: Results) -> list[float]:
    """Return the score of each seed at the best rate."""
    rate = results.best(results.rates()).learning_rate
    return [run["final"][results.headline] for run in results.runs if run["learning_rate"] == rate]


def _draw(plan: Plan, results: dict[tuple[str, str], Results]) -> Figure:
    """A panel a task, a column a model, a point a seed."""
    figure = empty_figure(WIDTH, 3.2)
    common, names = factored([Path(model).name.split(",learning_rate=")[0] for model in plan.models])
    for axes, task in zip(figure.subplots(1, len(TASKS)), TASKS, strict=True):
        style_axes(axes)
        first = results[plan.models[0], task]
        axes.axhline(_guess(first), color=GREY, linewidth=1, linestyle="--")
        for number, model in enumerate(plan.models):
            scores = _scores(results[model, task])
            axes.plot([number] * len(scores), scores, **{**line_style(number), "linestyle": ""})
        columns = range(len(plan.models))
        axes.set_xticks(columns, [broken(name, _LETTERS) for name in names], fontsize=SMALL)
        axes.set_xlim(-0.5, len(plan.models) - 0.5)
        axes.set_ylabel(f"{TASKS[task]}: {first.headline}")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    set_title(figure, common, ["points: seeds; dashed: always the most frequent label"])
    return figure


if __name__ == "__main__":
    main()
