"""Measure the speed and the memory of a recipe on this machine, by a short run that is thrown away."""

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import yaml

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import RunFailed, Stopped, UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.gpus import usual_ranks, visible_gpus
from apollo_ds.models.flops import training_flops
from apollo_ds.planning.outlook import Rate
from apollo_ds.ranks import RankOf
from apollo_ds.training.launch import Ranks
from apollo_ds.training.start import train

_SECONDS = 10
"""The approximate time of all timed steps together, if one step is short."""
_CPU_FLOPS, _GPU_FLOPS = 5e10, 2e14
"""The assumed speed of a rank in operations a second, from which the number of steps is chosen."""
_FEWEST, _MOST = 3, 30
"""The limits on the number of timed steps. The same number of steps before them is not timed."""


def measurable_ranks(wanted: int | None) -> int:
    """The number of ranks of a short run: the wanted number, or else one for each GPU, or two without a GPU.

    Raises:
        UserError: this machine has fewer GPUs or cores than are wanted, or this process is itself a rank.
    """
    if RankOf.this_process() is not None:
        raise UserError("RANK is set, so this process is one of a run's ranks, which cannot measure; unset RANK")
    ranks = Ranks.of_this_machine(wanted)
    most = max(len(os.sched_getaffinity(0)), usual_ranks())
    if not ranks.on_gpus and ranks.count > most:
        raise UserError(
            f"--ranks: measuring starts every rank, and {ranks.count} are more than the {most} that the CPU cores "
            f"of this machine can run; use at most {most}"
        )
    return ranks.count


def usual_flops(ranks: int) -> float:
    """The assumed speed of so many ranks of this machine in operations a second, before anything is measured."""
    return ranks * (_GPU_FLOPS if visible_gpus() else _CPU_FLOPS)


def measure(recipe: Recipe, ranks: int) -> Rate:
    """Train all layers of a recipe at full length for a few steps, in a folder that is removed again.

    Raises:
        UserError: something is wrong with the recipe, the data or the number of ranks, or the short run failed.
        KeyboardInterrupt: a signal asked to stop; the ranks have ended.
    """
    with _stopped_by_any_signal(), TemporaryDirectory(prefix="apollo-ds-measure-") as folder:
        values = _short(recipe, ranks, Path(folder, "run"))
        path = Path(folder, "recipe.yaml")
        path.write_text(yaml.safe_dump(values))
        began = time.monotonic()
        try:
            with redirect_stdout(io.StringIO()):
                train(path, ranks=ranks)
        except (RunFailed, Stopped) as error:
            cause = str(error).partition(";")[0]  # drop the advice to resume
            raise UserError(
                f"the short run that measures this machine failed: {cause}; lower micro_batch_size"
            ) from None
        return _rate(RunFolder(Path(folder, "run")), time.monotonic() - began)


@contextmanager
def _stopped_by_any_signal() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that the ranks end and the folder is removed."""
    if threading.current_thread() is not threading.main_thread():  # other threads get no signals
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    # Processes that a shell script starts by `&` ignore SIGINT.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _short(recipe: Recipe, ranks: int, out: Path) -> dict[str, Any]:
    """The recipe's values for a short run without growth or a source. Of its steps, the second half is timed."""
    shape, flops_per_second = recipe.model, usual_flops(ranks)
    sample = training_flops(shape, shape.num_layers, recipe.seq_len, 1)
    batch = recipe.global_batch_size
    if sample * batch > flops_per_second * _SECONDS / _FEWEST:  # then a step has one micro-batch on each rank
        batch = recipe.sample_groups(ranks) * recipe.micro_batch(ranks)
    timed = max(_FEWEST, min(_MOST, int(flops_per_second * _SECONDS / (sample * batch))))
    return recipe.plain() | {
        "method": "scratch",
        "init_from": None,
        "branch_from": None,
        "out": str(out),
        "global_batch_size": batch,
        "steps": 2 * timed,
        "lr_schedule": "constant",
        "final_lr_fraction": 0.0,
        "log_every": timed,
        "eval_every": 2 * timed,
        "save_every": 2 * timed,
    }


def _rate(folder: RunFolder, seconds: float) -> Rate:
    """Read the results that the short run recorded. `seconds` is the time that the whole run took."""
    events = read_metrics(folder.path / "metrics.jsonl")
    last = {event["event"]: event for event in events}
    evaluating = last["eval"]["seconds"] - last["step"]["seconds"]
    saving = last["end"]["seconds"] - last["eval"]["seconds"]
    speed = last["step"]["tokens_per_second"]
    return Rate(
        tokens_per_second=speed,
        memory_bytes=last["ranks"]["memory_bytes"],
        start_seconds=max(0.0, seconds - last["step"]["tokens"] / speed - evaluating - saving),
        evaluation_seconds=evaluating,
        save_seconds=saving,
    )
