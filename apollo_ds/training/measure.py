"""How fast this machine trains a recipe, and in how much memory: a short run of it that is thrown away."""

import io
import time
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import RunFailed, Stopped, UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.gpus import visible_gpus
from apollo_ds.models.flops import training_flops
from apollo_ds.planning.outlook import Rate
from apollo_ds.training.start import train

_SECONDS = 10
"""About how long the timed steps take, where a step is short."""
_CPU_FLOPS, _GPU_FLOPS = 5e10, 2e14
"""Operations a second that a rank is taken to do, to choose the number of steps."""
_FEWEST, _MOST = 3, 30
"""Timed steps; as many before them are left out."""


def usual_flops(ranks: int) -> float:
    """Operations a second that so many ranks of this machine are taken to do before anything is measured."""
    return ranks * (_GPU_FLOPS if visible_gpus() else _CPU_FLOPS)


def measure(recipe: Recipe, ranks: int) -> Rate:
    """Train all layers of a recipe at full length for a few steps, in a folder that is removed again.

    Raises:
        UserError: something is wrong with the recipe, the data or the number of ranks, or the short run failed.
    """
    with TemporaryDirectory(prefix="apollo-ds-measure-") as folder:
        values = _short(recipe, ranks, Path(folder, "run"))
        path = Path(folder, "recipe.yaml")
        path.write_text(yaml.safe_dump(values))
        began = time.monotonic()
        try:
            with redirect_stdout(io.StringIO()):
                train(path, ranks=ranks)
        except (RunFailed, Stopped) as error:
            cause = str(error).partition(";")[0]  # without the advice to resume
            raise UserError(
                f"the short run that measures this machine failed: {cause}; lower micro_batch_size"
            ) from None
        return _rate(RunFolder(Path(folder, "run")), time.monotonic() - began)


def _short(recipe: Recipe, ranks: int, out: Path) -> dict[str, Any]:
    """The recipe for two equal parts of steps, of which the second is timed, without growth or a source."""
    shape, flops_per_second = recipe.model, usual_flops(ranks)
    sample = training_flops(shape, shape.num_layers, recipe.seq_len, 1)
    batch = recipe.global_batch_size
    if sample * batch > flops_per_second * _SECONDS / _FEWEST:  # then one micro-batch on each rank stands for a step
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
    """What the short run recorded, which took so many seconds in all."""
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
