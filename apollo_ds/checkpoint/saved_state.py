"""A checkpoint as it is read: by any number of ranks, whichever number wrote it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from apollo_ds.checkpoint.find import DamagedCheckpoint, read_manifest, verify
from apollo_ds.checkpoint.progress import Course, LossMemory
from apollo_ds.errors import UserError
from apollo_ds.growth.state import Counters, Shape, dtype_of
from apollo_ds.schedule.source_run import SourceRun
from apollo_ds.schedule.totals import Totals
from apollo_ds.schedule.triggers import Evidence


class SavedState:
    """A state on disk, written by any number of ranks, read by any other number without communication."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = read_manifest(folder)
        self.totals = Totals(**manifest["totals"])
        course = manifest["course"]
        self.course = Course(**{**course, "evidence": Evidence(**course["evidence"])})
        self.metrics_bytes: int = manifest["metrics_bytes"]
        self.memory = LossMemory(**manifest.get("memory", {}))
        counters = manifest["counters"]
        self.counters = Counters(**{**counters, "births": tuple(counters["births"])})
        self.saved_by: int = len(manifest["files"])
        self._files = [safe_open(folder / name, framework="pt") for name in manifest["files"]]
        self._slices: list[dict[str, Any]] = [json.loads(file.metadata()["slices"]) for file in self._files]

    def names(self) -> Iterator[str]:
        """See `State`."""
        return iter(self._slices[0])

    def shape(self, name: str) -> Shape:
        """See `State`."""
        return tuple(self._slices[0][name]["shape"])

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """See `State`."""
        shape = self.shape(name)
        whole = torch.zeros(torch.Size(shape).numel(), dtype=dtype_of(tensor))
        for file, slices in zip(self._files, self._slices, strict=True):
            if f"{name}/{tensor}" not in file.keys():  # noqa: SIM118 - not a dictionary
                continue  # what was frozen has a weight only
            part = file.get_tensor(f"{name}/{tensor}")
            whole.narrow(0, slices[name]["start"], part.numel()).copy_(part)
        return whole.view(shape).to(device)

    def release(self, name: str, tensor: str) -> None:
        """See `State`; the files are not in memory."""


def state_of(source: SourceRun) -> SavedState:
    """The state that a source has come to.

    Raises:
        UserError: its checkpoint is damaged or gone.
    """
    try:
        verify(source.checkpoint)
    except DamagedCheckpoint as damage:
        raise UserError(f"method.source: {damage}; restore it, or begin again in another folder with out=...") from None
    return SavedState(source.checkpoint)
