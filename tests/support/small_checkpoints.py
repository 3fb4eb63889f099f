"""Checkpoints of one small parameter, written without an engine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from apollo_ds.checkpoint.find import hash_of
from apollo_ds.checkpoint.manifest import FORMAT, rank_file
from data_prep import files

SLICES = [(0, 2), (2, 4)]
"""Where each rank's part of the four weights is."""


def rank_content(path: Path, start: int, end: int) -> None:
    """A rank's file with some of the elements."""
    slices = {"weight": {"shape": [2, 2], "start": start}}
    save_file({"weight/weight": np.zeros(end - start, np.float32)}, path, {"slices": json.dumps(slices)})


def values_of(path: Path, step: int) -> dict[str, Any]:
    """What the manifest of a folder of such files holds."""
    return {
        "format": FORMAT,
        "course": {"stage": 0, "stage_steps": [40], "evidence": {"flops": [], "losses": [], "correlations": []}},
        "totals": {"step": step, "tokens": 10, "flops": 1.5, "seconds": 2.0},
        "counters": {"adam_step": step, "births": [0], "loss_scaler": {}},
        "metrics_bytes": 5,
        "metrics_hash": "a",
        "run": "mine",
        "files": {file.name: hash_of(file) for file in sorted(path.glob("rank*"))},
    }


def manifest_of_files(path: Path, step: int, births: Sequence[int] = (0,)) -> None:
    """Write the manifest of a folder of ranks' files."""
    counters = {"adam_step": step, "births": list(births), "loss_scaler": {}}
    files.write_hashed(path / "manifest.json", {**values_of(path, step), "counters": counters})


def checkpoint(folder: Path, step: int, slices: list[tuple[int, int]] = SLICES, **changes: Any) -> Path:
    """A checkpoint of one small parameter."""
    path = folder / f"step-{step}"
    path.mkdir(parents=True)
    for rank, (start, end) in enumerate(slices):
        rank_content(path / rank_file(rank), start, end)
    files.write_hashed(path / "manifest.json", {**values_of(path, step), **changes})
    return path


def flip(path: Path) -> None:
    """Flip a bit of a file's last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
