"""What growing really saves: the runs behind each question, and the pages made from them.

    python benchmarks/evidence/evidence.py                           every grid that is not complete, and every page
    python benchmarks/evidence/evidence.py order/gpt2-tiny           one grid
    python benchmarks/evidence/evidence.py --again order/gpt2-tiny   its runs anew; to go on after that, without --again
    python benchmarks/evidence/evidence.py --pages                   the pages alone, from the results

A question is a folder here, with `question.md`, `conclusion.md` and sweeps, as `apollo-ds sweep` reads them; those of
one scale, `SCALE.yaml` and `SCALE+PART.yaml`, stand on the page together. A grid with one seed and several learning
rates looks for the best: seeds 2 and 3 then follow at the best rate of each recipe, and for scratch, with which all
is compared, at its best two. Runs go two at a time with a core each; those of a SCALE-gpu, which need a GPU and only
run when they are named, three at a time. What a page needs of a run, its recipe and its metrics, is kept beside the
sweep; README.md of the folder is made from that.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from page import AFTER_GROWTH, QUESTIONS, by_recipe, needs_gpu, write, write_index

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.tuning import end
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.sweep.grid import Cell, Grid

if TYPE_CHECKING:
    from apollo_ds.config.recipe import Recipe

HERE = Path(__file__).parent
FURTHER_SEEDS = (2, 3)
ON_CPU = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
_SPAWN = get_context("spawn")
_KEPT_EVERY = 10
"""Of the steps, one in so many is kept, and those at which something else happened."""


def main() -> None:
    """Run what is asked for, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = [f"{name}/{path.stem}" for name in QUESTIONS for path in sorted((HERE / name).glob("*.yaml"))]
    parser.add_argument("grids", nargs="*", default=[path for path in paths if not needs_gpu(path)])
    parser.add_argument("--again", action="store_true", help="forget the runs that are there")
    parser.add_argument("--pages", action="store_true", help="run nothing")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, on which the workers end too
    try:
        for name in () if options.pages else options.grids:
            train_grid(name, options.again)
    except UserError as error:
        sys.exit(str(error))
    for question in sorted({name.split("/")[0] for name in options.grids}):
        write(HERE / question)
    write_index(HERE)


def train_grid(name: str, again: bool) -> None:
    """Train every run of a grid that is not complete.

    Raises:
        UserError: the grid is wrong, or its text is not there.
    """
    from apollo_ds.config.load import load_recipe
    from apollo_ds.config.run_folder import RunFolder

    kept = HERE / name
    grid = Grid.read(kept.with_suffix(".yaml"))
    if again:
        _open_text(load_recipe(grid.recipe, grid.cells[0].words))  # before anything is forgotten
        for folder in (kept, *{cell.folder.parent for cell in grid.cells}):
            shutil.rmtree(folder, ignore_errors=True)
    for cell in grid.cells:
        RunFolder(kept / cell.name).check(load_recipe(grid.recipe, cell.words))
    train_all(name, grid.recipe, grid.cells)
    if looks_for_rates([cell.name for cell in grid.cells]):
        train_all(name, grid.recipe, further_seeds(grid.cells, kept))


def _open_text(recipe: "Recipe") -> None:
    """Prepare the text that every machine has; all other text is the user's to prepare.

    Raises:
        UserError: it is not there.
    """
    from apollo_ds.data.corpus import Corpus
    from apollo_ds.data.demo import prepare_default_text

    if recipe.data.name.startswith("docs"):
        prepare_default_text(recipe.data, recipe.model)
    Corpus.open(recipe.data)


def looks_for_rates(names: Sequence[str]) -> bool:
    """Whether runs of these names have one seed and several rates."""
    rates = {name.rpartition("learning_rate=")[2] for name in names}  # each with what follows it, which is the seed
    return all(name.endswith(",seed=1") for name in names) and len(rates) > 1


def further_seeds(cells: Sequence[Cell], kept: Path) -> list[Cell]:
    """The cells again with other seeds: of each recipe that at its best rate, of scratch those at its best two."""
    groups = by_recipe([RunHistory.read(kept / cell.name) for cell in cells if _is_kept(kept / cell.name)])
    names = set()
    for recipe in {group.name for group in groups}:
        best = sorted((group for group in groups if group.name == recipe), key=end)
        names |= {group.runs[0].folder.name for group in best[: 2 if recipe.startswith("scratch") else 1]}
    return [
        Cell(
            cell.name.replace("seed=1", f"seed={seed}"),
            Path(str(cell.folder).replace("seed=1", f"seed={seed}")),
            tuple(word.replace("seed=1", f"seed={seed}") for word in cell.words),
        )
        for seed in FURTHER_SEEDS
        for cell in cells
        if cell.name in names
    ]


def train_all(name: str, recipe: Path, cells: Sequence[Cell]) -> None:
    """Train those of the cells whose results are not there; one that fails is told of and left out."""
    from apollo_ds.config.load import load_recipe

    jobs = [(recipe, cell.words, HERE / name / cell.name) for cell in cells if not _is_kept(HERE / name / cell.name)]
    if not jobs:
        return
    _open_text(load_recipe(recipe, jobs[0][1]))
    alone = {} if needs_gpu(name) else ON_CPU
    with patch.dict(os.environ, alone):
        workers = ProcessPoolExecutor(3 if needs_gpu(name) else 2, _SPAWN)
        try:
            futures = {workers.submit(train, job): job[2].name for job in jobs}
            for done, future in enumerate(as_completed(futures), start=1):
                failure = future.exception()  # also of a worker that was killed, with which the others' cannot go on
                line = f"{futures[future]}: failed: {failure!r}" if failure else future.result()
                print(f"{name} {done} of {len(jobs)}: {line}", flush=True)
        except BaseException:  # a signal: nothing goes on without this process
            for worker in active_children():
                worker.terminate()
            raise
        finally:
            workers.shutdown(cancel_futures=True)


def train(job: tuple[Path, tuple[str, ...], Path]) -> str:
    """Train one run to its end and keep what is needed of it; returns a line that says what it came to."""
    recipe_path, words, kept = job
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(alone)
    os.environ.setdefault("MASTER_PORT", _free_port())
    from apollo_ds.config.load import load_recipe
    from apollo_ds.config.run_folder import RunFolder
    from apollo_ds.engine.processes import Processes
    from apollo_ds.training import run

    logging.disable(logging.WARNING)  # DeepSpeed's, at every engine that is made
    recipe = load_recipe(recipe_path, words)
    try:
        outcome = run.train(recipe, Processes.join())
    except UserError as error:
        return f"{kept.name}: failed: {error}"
    folder = RunFolder(recipe.out)
    partial = kept.with_name(f"{kept.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder.config, partial)
    (partial / "metrics.jsonl").write_text("".join(f"{line}\n" for line in thinned(folder.metrics)))
    partial.rename(kept)
    return f"{kept.name}: held-out loss {outcome.loss:.4f}, {outcome.totals.seconds:.0f} s"


def _is_kept(folder: Path) -> bool:
    return (folder / "metrics.jsonl").is_file()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def thinned(metrics: Path) -> list[str]:
    """The lines of a metrics file without most of the steps that nothing but training happened at."""
    lines = metrics.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    special = {e["step"] for e in events if e["event"] in ("eval", "growth")}
    special |= {e["step"] + i for e in events if e["event"] == "growth" for i in range(1, AFTER_GROWTH + 1)}
    return [
        line
        for line, event in zip(lines, events, strict=True)
        if event["event"] not in ("step", "ranks", "checkpoint")
        or (event["event"] == "step" and (event["step"] % _KEPT_EVERY == 0 or event["step"] in special))
    ]


if __name__ == "__main__":
    main()
