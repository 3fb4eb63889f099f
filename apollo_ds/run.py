"""A training run from recipe to report, on one of its ranks."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apollo_ds.corpus import Corpus
from apollo_ds.demo import prepare_default_text
from apollo_ds.errors import UserError
from apollo_ds.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from apollo_ds.run_folder import RunFolder
from apollo_ds.crash import leave_at_once
from apollo_ds.stopping import EXIT_CODE, Stopped, StopRequest

if TYPE_CHECKING:
    from apollo_ds.trainer import Trainer


def run(recipe_path: Path, overrides: Sequence[str]) -> None:
    """Check everything that can be checked before torch is imported; then train, export and report.

    Raises:
        UserError: something is wrong with the recipe, the data, the number of ranks or the run folder.
        SystemExit: the run was asked to stop, and has saved; with `stopping.EXIT_CODE`.
    """
    recipe = load_recipe(recipe_path, overrides)
    recipe.micro_batch(int(os.environ.get("WORLD_SIZE", "1")))
    if recipe_path == DEFAULT_RECIPE and not any(override.startswith("data=") for override in overrides):
        prepare_default_text(recipe)
    corpus = Corpus.open(recipe.data)
    corpus.check_fits(recipe.model, whole_words=recipe.masking == "whole_word")
    given = recipe.schedule().source
    if given:
        given.check_tokenizer(corpus)
    RunFolder(recipe.out).check(recipe)
    if os.environ.get("RANK", "0") == "0":
        corpus.verify()
    _train(recipe, corpus)


def _train(recipe: Recipe, corpus: Corpus) -> None:
    from apollo_ds.data import BatchSource
    from apollo_ds.engine import Processes
    from apollo_ds.progress import Progress
    from apollo_ds.stage_model import check_growths
    from apollo_ds.trainer import Trainer

    request = StopRequest()
    request.hold()
    processes = Processes.join()
    progress = Progress(recipe.schedule(), shown=processes.is_first)
    folder = RunFolder(recipe.out)
    try:
        recipe = processes.of_first(recipe)  # a source that still trains may have saved while the ranks looked at it
        check_growths(recipe.schedule().stages)
        processes.on_first(lambda: _claim(folder, request))
        processes.on_first(lambda: folder.create(recipe))
        recipe = processes.settled(recipe)
        source = BatchSource(corpus, recipe.model, recipe.seq_len, recipe.seed, recipe.masking == "whole_word")
        progress.start(recipe, processes.world_size, processes.device.type)
        trainer = Trainer(recipe, processes, source, progress, request)
        request.listen()
        trainer.train()
        trainer.close()
        processes.on_first(lambda: _conclude(trainer, corpus))
    except Stopped as stopped:
        request.ignore()
        progress.say(f"[yellow]{stopped}[/]; the same command goes on from there")
        trainer.close()
        sys.exit(EXIT_CODE)
    except Exception as error:
        progress.stop()
        if processes.world_size > 1:
            leave_at_once(error, processes)
        raise
    finally:
        progress.stop()
        processes.leave()


def _claim(folder: RunFolder, request: StopRequest) -> None:
    if request.launcher_is_gone:
        raise UserError("the launcher was ended before training began")
    folder.claim()


def _conclude(trainer: "Trainer", corpus: Corpus) -> None:
    """Export the model, draw the report and print the closing table."""
    from apollo_ds.checkpoint import SavedState
    from apollo_ds.export import export
    from apollo_ds.report import write_report

    recipe, folder, totals = trainer.recipe, trainer.folder, trainer.totals
    last = folder.checkpoints / f"step-{totals.step}"
    export(SavedState(last), recipe, corpus, folder.export)
    page = write_report(folder.path, folder.report)
    trainer.progress.finish(
        {
            "held-out loss": f"{trainer.last_loss:.4f} nats per token",
            "unigram entropy": f"{corpus.unigram_entropy:.4f} nats per token (the best guess without context)",
            "steps, tokens": f"{totals.step:,}, {totals.tokens:,}",
            "cost": f"{totals.flops:.4g} FLOPs, {totals.seconds:.0f} s",
            "report": str(page),
            "model": f"{folder.export} (from_pretrained)",
            "TensorBoard": f"tensorboard --logdir {folder.path}",
        }
    )
