"""Measures how long one of many ranks needs to find its slices in a checkpoint that as many ranks wrote.

    python benchmarks/bookkeeping.py           512 ranks, and the 390 parameters of a model of 7 billion
    python benchmarks/bookkeeping.py --ranks 64

A rank looks at its file, receives what the other ranks found in theirs, checks that nothing is missing, and reads its
slice of every tensor. Here each slice has a few elements, so almost none of the time is spent on reading them. A single
process is the first rank, and gets prepared answers from the other ranks. results/bookkeeping.md has the seconds, the
bytes that it read in addition to its slices, and the files that it opened.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from apollo_ds.checkpoint.choose import examine, look_at
from apollo_ds.checkpoint.find import hash_of, manifest_of
from apollo_ds.checkpoint.manifest import FORMAT, Manifest, rank_file, write_manifest
from apollo_ds.checkpoint.progress import Course
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.counters import MOMENTS, WEIGHT, Counters
from apollo_ds.schedule.totals import Totals

_ELEMENTS = 2
"""Of each tensor in each rank's file."""
_REPEATS = 5


@dataclass(frozen=True)
class Told(Processes):
    """The first of many ranks. The answers of the others are prepared."""

    others: list[Any] = field(default_factory=list)

    def on_first(self, action: Callable[[], Any]) -> Any:
        """Act: there is one process."""
        return action()

    def of_all(self, value: Any) -> list[Any]:
        """The value, and those that other ranks would have."""
        return [value, *self.others]


def write_checkpoint(path: Path, ranks: int, parameters: int) -> None:
    """Write a checkpoint as `ranks` ranks do under ZeRO 3, where each holds a part of each parameter."""
    path.mkdir(parents=True)
    names = [f"model.layers.{number}.weight" for number in range(parameters)]
    for rank in range(ranks):
        part = np.full(_ELEMENTS, rank, np.float32)
        slices = {name: {"shape": [_ELEMENTS * ranks], "start": _ELEMENTS * rank} for name in names}
        tensors = {f"{name}/{tensor}": part for name in names for tensor in (WEIGHT, *MOMENTS)}
        save_file(tensors, path / rank_file(rank), {"slices": json.dumps(slices)})
    hashes = {rank_file(rank): hash_of(path / rank_file(rank)) for rank in range(ranks)}
    course = Course(stage=0, stage_steps=[8])
    write_manifest(
        path,
        Manifest(
            format=FORMAT, course=course, totals=Totals(step=8), counters=Counters(adam_step=8), metrics_bytes=0,
            metrics_hash="", run="benchmark", files=hashes,
        ),
    )  # fmt: skip


def measure(path: Path, ranks: int) -> dict[str, float]:
    """Seconds, bytes read and files opened of the first rank."""
    manifest = manifest_of(path, None)
    others = [look_at(path, [rank_file(rank)], manifest, is_first=False) for rank in range(1, ranks)]
    processes, open_before = Told(0, ranks, torch.device("cpu"), others), len(os.listdir("/proc/self/fd"))
    began = time.perf_counter()
    sound, complaint = examine(path, None, processes)
    if sound is None:
        raise SystemExit(complaint)
    saved = SavedState(sound)
    for name in saved.names():
        for tensor in saved.counters.tensors:
            target = torch.empty(_ELEMENTS)
            saved.read_into(name, tensor, _ELEMENTS, target)  # what the second rank wrote
            assert (target == 1).all()
    return {
        "seconds": time.perf_counter() - began,
        "bytes_read": saved.bytes_read,
        "files_open": len(os.listdir("/proc/self/fd")) - open_before,
    }


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=512)
    parser.add_argument("--parameters", type=int, default=390)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="apollo-ds-bookkeeping-") as folder:
        path = Path(folder) / "step-8"
        write_checkpoint(path, options.ranks, options.parameters)
        runs = [measure(path, options.ranks) for _ in range(_REPEATS)]
    seconds = sorted(run["seconds"] for run in runs)
    page = (
        f"{options.ranks} ranks, {options.parameters} parameters, as one rank of the same number resumes them, its "
        f"files in the page cache:\n{statistics.median(seconds):.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f} in "
        f"{_REPEATS} runs). Bytes read of {3 * options.parameters:,} slices of {4 * _ELEMENTS} bytes: "
        f"{runs[0]['bytes_read']:,.0f}. Files open: {runs[0]['files_open']:.0f}.\n"
    )
    options.out.mkdir(exist_ok=True)
    (options.out / "bookkeeping.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
