"""A checkpoint as it is read: by any number of ranks, whichever number wrote it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from apollo_ds.checkpoint.manifest import DamagedCheckpoint, Manifest, read_manifest
from apollo_ds.errors import UserError
from apollo_ds.growth.state import Shape, dtype_of


class SavedState:
    """A state on disk, written by any number of ranks, read by any other number without communication."""

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        """Open a checkpoint that has been verified; its manifest is read if it is not given.

        Raises:
            UserError: a file cannot be read.
        """
        self.folder = folder
        try:
            self.manifest = manifest or read_manifest(folder)
            self._files = [safe_open(folder / name, framework="pt") for name in sorted(self.manifest.files)]
            self._slices: list[dict[str, Any]] = [json.loads(file.metadata()["slices"]) for file in self._files]
        except (OSError, SafetensorError, DamagedCheckpoint) as error:
            raise UserError(f"{folder}: cannot be read ({error}); run the same command again") from None
        self.counters = self.manifest.counters

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
