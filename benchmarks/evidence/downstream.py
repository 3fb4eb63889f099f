"""Whether what growing saves holds downstream: models of a question's runs, fine-tuned, and the page made from that.

    python benchmarks/evidence/downstream.py --glue ../glue       every fine-tuning that is not complete, and the page
    python benchmarks/evidence/downstream.py --pages              the page alone, from the results

`downstream/SCALE.yaml` names the runs, which must have been trained here, the tasks and the rates. Each model is
fine-tuned at every rate with one seed, and at the best with all seeds, two models at a time with a core each. The
results are kept beside that file; README.md of the folder is made from them.
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
from evidence import HERE, ON_CPU
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from page import DOWNSTREAM, conclusion, write_index

from apollo_ds.experiments.compare.text import NOTHING, Table
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.style import GREY, line_style, style_axes

FOLDER = HERE / DOWNSTREAM
TASKS = {"cola": "CoLA", "sst2": "SST-2", "rte": "RTE"}
"""Each task's folder, as GLUE names it."""


@dataclass(frozen=True)
class Plan:
    """A scale's file."""

    scale: str
    models: tuple[str, ...]
    """Runs, as QUESTION/SCALE/RUN; the first is that from scratch."""
    learning_rates: tuple[float, ...]
    seeds: int
    epochs: int
    max_length: int

    @classmethod
    def read(cls, path: Path) -> "Plan":
        values = yaml.safe_load(path.read_text())
        lists = {key: tuple(values.pop(key)) for key in ("models", "learning_rates")}
        return cls(scale=path.stem, **lists, **values)

    def results(self, model: str, task: str) -> Path:
        """The folder of a model's results."""
        return FOLDER / self.scale / Path(model).name / task


def main() -> None:
    """Fine-tune what is not done, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--glue", type=Path, help="the folder of CoLA, SST-2 and RTE")
    what.add_argument("--pages", action="store_true", help="run nothing")
    options = parser.parse_args()
    plans = [Plan.read(path) for path in sorted(FOLDER.glob("*.yaml"))]
    if options.glue:
        os.environ.update(ON_CPU)
        for plan in plans:
            jobs = [job for job in product(plan.models, TASKS) if _read(plan, *job) is None]
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(_export, sorted({model for model, _ in jobs})))
                list(pool.map(lambda job, plan=plan: _fine_tune(plan, *job, options.glue), jobs))
    write(FOLDER, plans)
    write_index(HERE)


def _run_of(model: str) -> Path:
    return Path("runs/evidence") / model


def _export(model: str) -> None:
    if not (_run_of(model) / "export").exists():
        _command("export", str(_run_of(model)), str(_run_of(model) / "export"))


def _fine_tune(plan: Plan, model: str, task: str, glue: Path) -> None:
    """Every rate with one seed, then the best with all seeds; results that are there are not made again."""
    folder = plan.results(model, task)
    words = ["finetune", str(_run_of(model)), "--task", task, "--data", str(glue / TASKS[task]), "--out", str(folder)]
    words += ["--epochs", str(plan.epochs), "--max-length", str(plan.max_length)]
    _command(*words, "--seeds", "1", "--learning-rate", *map(str, plan.learning_rates))
    # With one seed at each, the first of the best is what all seeds then run at.
    searched = json.loads((folder / "results.json").read_text())
    by_rate = {
        run["learning_rate"]: run["final"][searched["metrics"][0]] for run in searched["runs"] if run["seed"] == 1
    }
    best = max(by_rate, key=lambda rate: by_rate[rate])
    _command(*words, "--seeds", str(plan.seeds), "--learning-rate", str(best))
    print(f"{plan.scale} {Path(model).name} {task}: done", flush=True)


def _command(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "apollo_ds", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"apollo-ds {' '.join(words)}: {done.stdout}{done.stderr}")


def write(folder: Path, plans: list[Plan]) -> None:
    """Write README.md: the question, the conclusion, and a table and a picture for each scale that has results."""
    lines = [(folder / "question.md").read_text().rstrip(), "", *conclusion(folder), ""]
    for plan in plans:
        results = {(model, task): _read(plan, model, task) for model, task in product(plan.models, TASKS)}
        if any(found is None for found in results.values()):
            continue
        _draw(plan, results).savefig(folder / f"{plan.scale}.png", dpi=150)
        lines += [f"## {plan.scale}", "", f"{_in_words(plan)} {_sizes(plan, results)}", ""]
        lines += ["```console", "$ python benchmarks/evidence/downstream.py --glue GLUE", "```", ""]
        lines += _table(plan, results).markdown()
        lines += [f"![Each seed's result on the held-out examples]({plan.scale}.png)", ""]
        lines += [f"Raw results, a folder a model: [{plan.scale}]({plan.scale}) ([plan]({plan.scale}.yaml)).", ""]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def _read(plan: Plan, model: str, task: str) -> dict[str, Any] | None:
    """The results of all seeds; None where some are missing."""
    path = plan.results(model, task) / "results.json"
    found = json.loads(path.read_text()) if path.is_file() else None
    return found if found and len(found["best"]["seeds"]) == plan.seeds else None


def _in_words(plan: Plan) -> str:
    shape = _history(plan.models[0]).recipe["model"]
    return (
        f"{shape['family']}, {shape['num_layers']} layers x {shape['hidden_size']}, fine-tuned (epochs: {plan.epochs})"
        f" on sentences of up to {plan.max_length} tokens; the median of {plan.seeds} seeds, the lowest and the highest"
        f", times 100, at the best of {len(plan.learning_rates)} learning rates, looked for with one seed. Each row is "
        "one pretrained model, so that what another seed of pretraining would change is not in the spread."
    )


def _sizes(plan: Plan, results: dict[tuple[str, str], Any]) -> str:
    sizes = {TASKS[task]: results[plan.models[0], task]["sizes"] for task in TASKS}
    told = ", ".join(f"{task} {of['train']:,} and {of['dev']:,}" for task, of in sizes.items())
    return f"Examples to train on and held out: {told}."


def _history(model: str) -> RunHistory:
    return RunHistory.read(HERE / model)


def _table(plan: Plan, results: dict[tuple[str, str], Any]) -> Table:
    names = {task: f"{TASKS[task]}, {results[plan.models[0], task]['metrics'][0]}" for task in TASKS}
    full = _history(plan.models[0]).final.cost.flops
    rows = []
    for model in plan.models:
        end = _history(model).final
        scores = [_score(results[model, task]) for task in TASKS]
        rows.append([Path(model).name, f"{end.cost.flops / full:.1%}", f"{end.loss:.4f}", *scores])
    guesses = [results[plan.models[0], task] for task in TASKS]
    guess = [f"{100 * found['baseline'][found['metrics'][0]]:.1f}" for found in guesses]
    rows.append(["most frequent label", NOTHING, NOTHING, *guess])
    return Table(("pretrained", "cost", "held-out loss", *names.values()), rows)


def _score(found: dict[str, Any]) -> str:
    spread = found["best"]["metrics"][found["metrics"][0]]
    return f"{100 * spread['median']:.1f} ({100 * spread['min']:.1f} to {100 * spread['max']:.1f})"


def _scores(found: dict[str, Any]) -> list[float]:
    """Of each seed, at the best rate."""
    rate = found["best"]["learning_rate"]
    return [run["final"][found["metrics"][0]] for run in found["runs"] if run["learning_rate"] == rate]


def _draw(plan: Plan, results: dict[tuple[str, str], Any]) -> Figure:
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(TASKS)), TASKS, strict=True):
        style_axes(axes)
        first = results[plan.models[0], task]
        axes.axhline(first["baseline"][first["metrics"][0]], color=GREY, linewidth=1)
        for number, model in enumerate(plan.models):
            scores = _scores(results[model, task])
            style = {**line_style(number), "linestyle": ""}
            label = Path(model).name.split(",learning_rate=")[0] if task == "cola" else None
            axes.plot([number] * len(scores), scores, label=label, **style)
        axes.set(title=TASKS[task], ylabel=first["metrics"][0], xticks=[], xlim=(-0.5, len(plan.models) - 0.5))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
