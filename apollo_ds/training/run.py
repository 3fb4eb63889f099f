"""Train a recipe on one of the run's ranks, from reading the recipe to the report."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.load import load_recipe
from apollo_ds.config.ready import check_ready, with_default_text
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.demo import prepare_default_text
from apollo_ds.data.text import Text
from apollo_ds.engine.gpu_memory import let_segments_grow
from apollo_ds.errors import Stopped, UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.planning.all_layers import cost_in_words
from apollo_ds.planning.in_words import loss_in_words, perplexity_in_words, time_in_words
from apollo_ds.planning.outlook import MOST_EPOCHS, outlook, text_in_words
from apollo_ds.planning.plan import plan
from apollo_ds.ranks import RankOf
from apollo_ds.schedule.totals import Totals
from apollo_ds.training import run_log
from apollo_ds.training.faults.stop_signal import STARTED_BY, StopRequest
from apollo_ds.training.faults.watchdog import Limit, Watchdog
from apollo_ds.training.threads import share_cores_with_other_ranks

if TYPE_CHECKING:
    from apollo_ds.engine.processes import Processes
    from apollo_ds.training.console import RunConsole
    from apollo_ds.training.trainer import Trainer


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run."""

    folder: Path
    """The run's folder, with its checkpoints, `export/` (the model) and `report/`."""
    totals: Totals
    """The steps, tokens, operations and seconds that the run has used."""
    loss: float
    """The last held-out loss, in nats a token."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the result of a finished run from its folder.

        Raises:
            UserError: metrics.jsonl cannot be read, or does not record the run's end.
        """
        metrics = RunFolder(folder).metrics
        try:
            end = read_metrics(metrics)[-1]
            return cls(folder, Totals(**{field.name: end[field.name] for field in fields(Totals)}), end["loss"])
        except (IndexError, KeyError):
            raise UserError(f"{metrics}: does not tell how the run ended; restore the file") from None


def prepare(
    recipe_name: Path, overrides: Sequence[str], ranks: int, on_recipe: Callable[[Recipe], None] = lambda recipe: None
) -> Recipe:
    """Check all that can be checked before torch is imported, and prepare the default recipe's text if it is missing.

    `on_recipe` is called with the recipe as soon as it is read. Returns the recipe.

    Raises:
        UserError: something is wrong with the recipe, the data, the number of ranks or the run folder.
    """
    recipe = load_recipe(recipe_name, overrides)
    on_recipe(recipe)
    recipe, is_default_text = with_default_text(recipe, recipe_name, overrides)
    if is_default_text:
        recipe.micro_batch(ranks)  # fail before the text is prepared, which takes a while
        assert isinstance(recipe.data, Path)
        prepare_default_text(recipe.data, recipe.model)
    check_ready(recipe, ranks)
    # Last, since it may take a while, and a rank that fails ends the others. Ranks skip it if their launcher has done
    # it.
    if os.environ.get("RANK", "0") == "0" and STARTED_BY not in os.environ:
        Text.open(recipe.data, recipe.held_out).verify(full=recipe.verify == "full")
    return recipe


def run(recipe_name: Path, overrides: Sequence[str]) -> Outcome:
    """Train a recipe from its file to its report, on the rank that the environment names.

    Raises:
        UserError: something is wrong with the recipe, the data, the number of ranks or the run folder.
        Stopped: a signal asked the run to stop, and it has saved.
    """
    place = RankOf.this_process() or RankOf(0, 1)
    place.check_meeting()
    who = f"rank {place.rank}"
    terminal = run_log.start(who)
    watchdog = Watchdog(who)
    watchdog.start()
    try:
        recipe = prepare(recipe_name, overrides, place.count, watchdog.heed)
        return _run_on_this_rank(recipe, watchdog, terminal)
    finally:
        watchdog.close()


def _run_on_this_rank(recipe: Recipe, watchdog: Watchdog, terminal: Console | None) -> Outcome:
    stop = StopRequest()
    stop.hold()  # before the imports, which take seconds
    watchdog.progress("importing torch and DeepSpeed", Limit.SETUP)
    share_cores_with_other_ranks()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read at import; else torch warns about each lost connection
    let_segments_grow(os.environ)
    from apollo_ds.engine.processes import Processes
    from apollo_ds.training.console import RunConsole
    from apollo_ds.training.faults.crash import leave_at_once

    processes = Processes.join(lambda doing: watchdog.progress(doing, Limit.SETUP))
    console = RunConsole(processes.is_first, terminal)
    try:
        processes.on_first(stop.check_launcher)
        return train(recipe, processes, console, stop, watchdog, concludes=True)
    except Stopped as stopped:
        console.say(f"{stopped}; run the same command to resume", style="yellow")
        raise
    except Exception as error:
        leave_at_once(error, console, recipe.out)
    finally:
        console.stop()
        processes.leave()


def train(
    recipe: Recipe,
    processes: "Processes",
    console: "RunConsole | None" = None,
    stop: StopRequest | None = None,
    watchdog: Watchdog | None = None,
    concludes: bool = False,
) -> Outcome:
    """Train a recipe to its end, or resume it if its folder has a checkpoint. All ranks call it together.

    Ranks (`run`), benchmarks and tests use this function. With `concludes` it also exports the model, draws the report
    and prints the closing table. After an error that is neither a `UserError` nor `Stopped`, the engine is not freed,
    so the process should end.

    Raises:
        Stopped: a signal asked to stop, and the run has saved.
        UserError: the folder is in use or cannot be written to, or training goes wrong repeatedly.
    """
    folder = RunFolder(recipe.out)
    recipe = processes.on_first(lambda: recipe)  # ranks may have read different steps of a source in training
    processes.on_first(folder.claim)
    try:
        trainer = make_trainer(recipe, processes, console, stop, watchdog)
        try:
            trainer.train()
        except (Stopped, UserError) as end:  # raised on all ranks; after others, closing may wait for a lost rank
            if stop and isinstance(end, Stopped):
                stop.ignore()
            trainer.close()
            raise
        trainer.close()
        if concludes:
            trainer.watchdog.progress("export and report", Limit.SAVE)
            processes.on_first(lambda: _conclude(trainer))
        return Outcome(recipe.out, trainer.totals, trainer.last_loss)
    finally:
        folder.release()


def make_trainer(
    recipe: Recipe,
    processes: "Processes",
    console: "RunConsole | None" = None,
    stop: StopRequest | None = None,
    watchdog: Watchdog | None = None,
) -> "Trainer":
    """Make the run folder, write its configuration, and build a trainer at the first step or the last checkpoint.

    Raises:
        UserError: the folder cannot be written to, or a stage cannot be made from the one before it.
    """
    from apollo_ds.data.batches import BatchSource
    from apollo_ds.engine.hardware import check_precision
    from apollo_ds.schedule.growable import check_growths
    from apollo_ds.training.console import RunConsole
    from apollo_ds.training.trainer import Trainer

    check_growths(recipe.schedule().stages)
    processes.on_first(lambda: RunFolder(recipe.out).create(recipe))
    recipe = recipe.settled(processes.computes_bf16, processes.world_size)
    check_precision(processes, precision(recipe.deepspeed))
    text = Text.open(recipe.data, recipe.held_out)
    _check_is_same(text, processes)
    whole_words = recipe.masking == "whole_word"
    source = BatchSource(text, recipe.model, recipe.seq_len, recipe.seed, whole_words, recipe.document_mask)
    source.check_scores(recipe.eval_samples)
    console = console or RunConsole(shown=False)
    console.start(recipe, processes.world_size, processes.device.type)
    _tell_of_text(recipe, console)
    watchdog = watchdog or Watchdog(f"rank {processes.rank}")
    trainer = Trainer(recipe, processes, source, console, stop or StopRequest(), watchdog)
    if stop:
        stop.listen()  # only now is there a state to save
    return trainer


def _tell_of_text(recipe: Recipe, console: "RunConsole") -> None:
    """Print how often each source of a mixture is read. For a single text, print it only if it is read too often."""
    text = outlook(recipe, plan(recipe), rate=None)["text"]
    is_repeated = text and text["epochs"] > MOST_EPOCHS
    if text and (is_repeated or isinstance(recipe.data, dict)):
        (console.warn if is_repeated else console.say)(text_in_words(text))


def _check_is_same(text: Text, processes: "Processes") -> None:
    """Check that all ranks see the same text as rank 0. All ranks call it together.

    Raises:
        UserError: a rank sees another text. Every rank raises it.
    """
    folders = ", ".join(str(corpus.folder) for corpus in text.corpora)
    seen = processes.of_all((socket.gethostname(), text.identity))
    for rank, (host, other) in enumerate(seen):
        if other != seen[0][1]:
            raise UserError(
                f"data: {folders}: rank {rank} on {host} sees another text there than rank 0 on {seen[0][0]}; see "
                f"that {host} has the same files, then run the same command to resume"
            )


def _conclude(trainer: "Trainer") -> None:
    """Export the model, draw the report and print the closing table."""
    from apollo_ds.experiments.report import write_report
    from apollo_ds.training.export_run import export_run

    folder, totals, text = trainer.folder, trainer.totals, trainer.batches.source.text
    export_run(folder, folder.export, totals.step)
    page = write_report(folder.path, folder.report)
    bits = trainer.held_out.bits_per_byte(trainer.last_loss)
    shown_by = f"tensorboard --logdir {folder.path.parent}"  # TensorBoard would show the given folder as "."
    trainer.console.finish(
        {
            "held-out loss": f"{loss_in_words(trainer.last_loss)} nats per token",
            "perplexity": perplexity_in_words(trainer.last_loss),
            **({} if bits is None else {"bits a byte": f"{bits:.4f}"}),
            "unigram entropy": f"{text.unigram_entropy:.4f} nats per token (the best guess without context)",
            "steps, tokens": f"{totals.step:,}, {totals.tokens:,}",
            "cost": cost_in_words(trainer.recipe, totals),
            "time": time_in_words(totals.seconds),
            "report": str(page),
            "model": f"{folder.export} (from_pretrained)",
            **({"TensorBoard": shown_by} if "tensorboard" in trainer.recipe.trackers else {}),
        }
    )
