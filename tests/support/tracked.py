"""A run that is recorded, cut short and gone on with, for tests of trackers."""

from pathlib import Path
from typing import Any

from apollo_ds.training.metrics import Metrics
from apollo_ds.training.trackers.trackers import Trackers

RECIPE = {
    "model": {"num_layers": 6},
    "method": {"name": "apollo"},
    "steps": 8,
    "adam_betas": [0.9, 0.98],
    "init_from": None,
}


def step(number: int, **more: float) -> dict[str, float]:
    """What a step records: a thousand tokens, a million GFLOP, ten seconds."""
    return {
        "step": number,
        "loss": 5 - number / 8,
        "lr": 1e-3,
        "grad_norm": 1.5,
        "depth": 3,
        "unique_layers": 1,
        "tokens_per_second": 1e4,
        **used(number),
        **more,
    }


def used(number: int) -> dict[str, float]:
    """What a run has used by a step."""
    return {"tokens": number * 1000, "flops": number * 1e15, "seconds": number * 10.0}


def start(folder: Path, *names: str, keep_bytes: int = 0) -> Metrics:
    """Open the records of a run with these trackers."""
    return Metrics(folder, keep_bytes, Trackers(folder, RECIPE, names))


def record(metrics: Metrics, first: int, last: int, **more: Any) -> None:
    """Record steps, each with an evaluation whose loss is the step's number."""
    for number in range(first, last + 1):
        metrics.write("step", **step(number))
        metrics.write("eval", step=number, **used(number), loss=float(number), **more)
    metrics.flush()


def cut_after_six_and_resumed_from_three(folder: Path, *names: str) -> None:
    """Steps 1 to 6, a checkpoint at 3; then from 3 to 8, the end."""
    metrics = start(folder, *names)
    record(metrics, 1, 3)
    kept = metrics.bytes
    record(metrics, 4, 6)
    metrics.close()
    metrics = start(folder, *names, keep_bytes=kept)
    metrics.write("resume", step=3, ranks=2)
    record(metrics, 4, 8)
    metrics.write("end", step=8, **used(8), loss=8.0)
    metrics.close()
