"""What growing really saves: the runs behind each question, and the pages made from them.

    python benchmarks/evidence/evidence.py                       every grid whose runs are not there yet, and every page
    python benchmarks/evidence/evidence.py order/gpt2-tiny       one grid
    python benchmarks/evidence/evidence.py --again order/gpt2-tiny   its runs anew
    python benchmarks/evidence/evidence.py --pages               the pages alone, from the results

A question is a folder here, with `question.md`, `conclusion.md` and a sweep for each grid, as `apollo-ds sweep` reads
it. Runs go one by one, two at a time with a core each; one that was interrupted goes on. What a page needs of a run,
its recipe and its metrics, is kept beside the sweep; README.md of the folder is made from that.
"""

import argparse
import json
import logging
import os
import shutil
from multiprocessing import current_process, get_context
from pathlib import Path

HERE = Path(__file__).parent
RUNS = Path("runs/evidence")
_FIRST_PORT = 29720
_KEPT_EVERY = 10
"""Of the steps, one in so many is kept, and those at which something else happened."""


def main() -> None:
    """Run what is asked for, two at a time, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "grids", nargs="*", default=[str(p.relative_to(HERE))[:-5] for p in sorted(HERE.glob("*/*.yaml"))]
    )
    parser.add_argument("--again", action="store_true", help="forget the runs that are there")
    parser.add_argument("--pages", action="store_true", help="run nothing")
    options = parser.parse_args()
    os.environ.update(DS_ACCELERATOR="cpu", GOMP_SPINCOUNT="0", OMP_NUM_THREADS="1")
    for name in () if options.pages else options.grids:
        train_all(name, options.again)
    from page import write

    for question in sorted({name.split("/")[0] for name in options.grids}):
        write(HERE / question)


def train_all(name: str, again: bool) -> None:
    """Train every run of a grid that is not complete."""
    from apollo_ds.demo import prepare_default_text
    from apollo_ds.recipe import load_recipe
    from apollo_ds.sweep.grid import Grid

    kept = HERE / name
    if again:
        shutil.rmtree(kept, ignore_errors=True)
        shutil.rmtree(RUNS / name, ignore_errors=True)
    grid = Grid.read(kept.with_suffix(".yaml"))
    prepare_default_text(load_recipe(grid.recipe, grid.cells[0].words))
    jobs = [(grid.recipe, cell.words, kept / cell.name) for cell in grid.cells if not (kept / cell.name).exists()]
    with get_context("spawn").Pool(2) as workers:
        for done, line in enumerate(workers.imap_unordered(train, jobs), start=1):
            print(f"{name} {done} of {len(jobs)}: {line}", flush=True)


def train(job: tuple[Path, tuple[str, ...], Path]) -> str:
    """Train one run to its end and keep what is needed of it; returns a line that says what it came to."""
    recipe_path, words, kept = job
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1", MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(_FIRST_PORT + current_process()._identity[0])
    from apollo_ds.corpus import Corpus
    from apollo_ds.data import BatchSource
    from apollo_ds.deepspeed_config import settle_precision
    from apollo_ds.engine import Processes
    from apollo_ds.progress import Progress
    from apollo_ds.recipe import load_recipe
    from apollo_ds.run_folder import RunFolder
    from apollo_ds.trainer import Trainer

    logging.disable(logging.WARNING)
    processes = Processes.join()
    recipe = load_recipe(recipe_path, words)
    folder = RunFolder(recipe.out)
    folder.create(recipe)
    recipe = recipe.model_copy(update={"deepspeed": settle_precision(recipe.deepspeed, processes.computes_bf16)})
    source = BatchSource(Corpus.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    trainer = Trainer(recipe, processes, source, Progress(recipe.schedule(), shown=False))
    trainer.train()
    trainer.close()
    kept.mkdir(parents=True)
    shutil.copy(folder.config, kept)
    (kept / "metrics.jsonl").write_text("".join(f"{line}\n" for line in thinned(folder.metrics)))
    shutil.rmtree(folder.checkpoints)
    return f"{kept.name}: held-out loss {trainer.last_loss:.4f}, {trainer.totals.seconds:.0f} s"


def thinned(metrics: Path) -> list[str]:
    """The lines of a metrics file without most of the steps that nothing but training happened at."""
    lines = metrics.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    special = {e["step"] for e in events if e["event"] in ("eval", "growth")}
    after_growth = {e["step"] + i for e in events if e["event"] == "growth" for i in range(1, 11)}
    return [
        line
        for line, event in zip(lines, events, strict=True)
        if event["event"] not in ("step", "ranks", "checkpoint")
        or (event["event"] == "step" and (event["step"] % _KEPT_EVERY == 0 or event["step"] in special | after_growth))
    ]


if __name__ == "__main__":
    main()
