"""The weights of a model that `transformers` saved, in the form of a training state at step 0."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from apollo_ds.checkpoint.hf_files import HfFiles, SavedTensor
from apollo_ds.errors import UserError
from apollo_ds.growth.counters import WEIGHT, Counters
from apollo_ds.growth.state import Shape, dtype_of
from apollo_ds.models.families import Family, family_of
from apollo_ds.models.pretraining import skeleton
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.source import SourceModel

_ELEMENTS_AT_ONCE = 1 << 24
"""The most elements that are read and converted at a time."""
_READ = ("F32", "BF16", "F16")
_BUFFERS = ("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias")
"""Buffers that older versions of `transformers` saved together with a layer's weights. They are ignored."""


@dataclass(frozen=True)
class _Weight:
    """A parameter of the trained model, and the saved tensors that hold it. A tied parameter may have several."""

    shape: Shape
    found: tuple[str, ...]
    first_row: int
    """The row of the saved tensor that becomes row 0 of the parameter; below 0 if the file lacks the first rows."""


class HfState:
    """The state of a saved model: its weights in fp32. Moments, cohorts and counters are all zero.

    Each rank reads what it needs by itself. A file is opened when something in it is first read, and stays
    open until the state is closed.
    """

    def __init__(self, files: HfFiles, shape: ModelShape) -> None:
        """Find each parameter of a model of this shape in the files.

        Raises:
            UserError: a parameter is missing, has another shape, or is in a number format that is not supported.
        """
        self.folder = files.folder
        self.counters = Counters(optimizer=None)
        self._tensors = files.tensors
        self._weights = _matched(files, shape)
        self._open: dict[str, Any] = {}

    @classmethod
    def open(cls, source: SourceModel) -> Self:
        """Open the model that a run was started from.

        Raises:
            UserError: its files have changed since the run began, or do not fit the model's shape.
        """
        files = HfFiles.read(source.folder)
        if files.identity != source.identity:
            raise UserError(
                f"{source.folder}: its config.json or weights have changed since the run began; restore them, or begin "
                "again in another folder with out=..."
            )
        return cls(files, source.shape)

    def hold(self) -> Self:
        """Open all files now, so that they can be read even if somebody removes them meanwhile. Returns itself.

        Raises:
            UserError: one cannot be opened.
        """
        for file in sorted({self._tensors[weight.found[0]].file for weight in self._weights.values()}):
            self._opened(file)
        return self

    def close(self) -> None:
        """Close the files."""
        self._open.clear()

    def names(self) -> Iterator[str]:
        """Every parameter of the saved model."""
        return iter(self._weights)

    def shape(self, name: str) -> Shape:
        """The shape of a whole parameter."""
        return self._weights[name].shape

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """Read a parameter's whole tensor onto a device. Moments and cohorts, which no file has, are zeros.

        Raises:
            UserError: a file cannot be read.
        """
        whole = torch.empty(prod(self.shape(name)), dtype=dtype_of(tensor))
        self.read_into(name, tensor, 0, whole)
        return whole.view(self.shape(name)).to(device)

    def read_into(self, name: str, tensor: str, start: int, target: Tensor) -> None:
        """Read a part of a flat tensor, from element `start` on, into `target`.

        Raises:
            UserError: a file cannot be read.
        """
        weight = self._weights[name]
        if tensor != WEIGHT:
            target.zero_()
            return
        saved = self._tensors[weight.found[0]]
        moved = weight.first_row * prod(weight.shape[1:])  # elements
        absent = min(max(0, -moved - start), len(target))
        target[:absent].zero_()
        self._read(weight.found[0], saved, start + absent + moved, target[absent:])

    def release(self, name: str, tensor: str) -> None:
        """Do nothing: the files are not in memory."""

    def check_finite(self) -> None:
        """Check that every weight is finite.

        Raises:
            UserError: one is not.
        """
        for weight in self._weights.values():
            name, elements = weight.found[0], prod(self._tensors[weight.found[0]].shape)
            for start in range(0, elements, _ELEMENTS_AT_ONCE):
                part = torch.empty(min(_ELEMENTS_AT_ONCE, elements - start))
                self._read(name, self._tensors[name], start, part)
                if not part.isfinite().all():
                    raise UserError(
                        f"{self.folder / self._tensors[name].file}: {name} holds NaN or infinite numbers; use a "
                        "checkpoint from before the training went wrong"
                    )

    def check_tied(self) -> None:
        """Check that the copies of a tied parameter, if the files hold several, are equal.

        Raises:
            UserError: they differ.
        """
        for weight in self._weights.values():
            first, *others = weight.found
            for other in others:
                if not self._are_equal(first, other, prod(weight.shape)):
                    raise UserError(
                        f"{self.folder}: {other} differs from {first}, and config.json says that they are tied; set "
                        "tie_word_embeddings to false there if the family has it, or save the model again with one"
                    )

    def _are_equal(self, first: str, second: str, elements: int) -> bool:
        for start in range(0, elements, _ELEMENTS_AT_ONCE):
            parts = [torch.empty(min(_ELEMENTS_AT_ONCE, elements - start)) for _ in range(2)]
            for name, part in zip((first, second), parts, strict=True):
                self._read(name, self._tensors[name], start, part)
            if not torch.equal(*parts):
                return False
        return True

    def _read(self, name: str, saved: SavedTensor, start: int, target: Tensor) -> None:
        """Fill `target` with the elements of a flattened saved tensor, from `start` on."""
        row = prod(saved.shape[1:])
        rows_at_once, done = max(1, _ELEMENTS_AT_ONCE // max(1, row)), 0
        path = self.folder / saved.file
        while done < len(target):
            first, skipped = divmod(start + done, row)
            last = min(first + rows_at_once, -(-(start + len(target)) // row))
            try:
                rows = self._opened(saved.file).get_slice(name)[first:last].flatten()[skipped:]
            except (OSError, SafetensorError) as error:
                raise _unreadable(path, error) from None
            count = min(len(rows), len(target) - done)
            target[done : done + count].copy_(rows[:count])  # also converts to the target's format
            done += count

    def _opened(self, file: str) -> Any:
        if file not in self._open:
            path = self.folder / file
            try:
                self._open[file] = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise _unreadable(path, error) from None
        return self._open[file]


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{path}: cannot be read ({reason}); restore it, and run the same command again")


def _matched(files: HfFiles, shape: ModelShape) -> dict[str, _Weight]:
    """Match each parameter of a model of this shape with tensors of the files."""
    family = family_of(shape)
    matched, missing = {}, []
    for name, names, wanted in _parameters(shape):
        found = tuple(dict.fromkeys(saved for alias in names for saved in _found(alias, family, files.tensors)))
        weight = _Weight(wanted, found, family.first_saved_row(name, files.config))
        matched[f"model.{name}"] = weight
        if not found:
            missing.append(name)
        for saved in found:
            _check(saved, weight, files)
    unknown = _unknown(files, family, {saved for weight in matched.values() for saved in weight.found})
    if unknown and not missing:
        raise UserError(
            f"{files.folder}: has {len(unknown)} weights, such as {unknown[0]}, that the "
            f"{family.model_class().__name__} of its config.json lacks, and they would be lost; "
            "save the model that has them, or remove them"
        )
    if missing:
        raise UserError(
            f"{files.folder}: lacks {len(missing)} of its weights, such as {missing[0]}; save it as "
            f"{family.model_class().__name__}"
        )
    return matched


def _unknown(files: HfFiles, family: Family, known: set[str]) -> list[str]:
    """The saved tensors of the body that no parameter uses. Task heads and the buffers of older versions do not count.

    If the model was saved without its head, the names of its layers have no prefix.
    """
    blocks = (f"{family.blocks}.", f"{family.blocks.removeprefix(f'{family.backbone}.')}.")
    others = sorted(name for name in files.tensors if name not in known and name.startswith(blocks))
    return [name for name in others if not name.endswith(_BUFFERS)]


def _parameters(shape: ModelShape) -> Iterator[tuple[str, list[str], Shape]]:
    """For each parameter: its name in training, all of its names (several if it is tied), and its shape."""
    model = skeleton(shape, shape.num_layers).model
    names: dict[Tensor, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    for tied, own in names.items():
        yield own[0], own, tuple(tied.shape)


def _found(name: str, family: Family, tensors: Mapping[str, SavedTensor]) -> Iterator[str]:
    """The names of the saved tensors that hold a parameter. A body saved alone has names without the model's prefix."""
    for known in (name, name.removeprefix(f"{family.backbone}.")):
        others = (known.removesuffix(end) + other for end, other in family.other_names.items() if known.endswith(end))
        yield from (candidate for candidate in (known, *others) if candidate in tensors)


def _check(name: str, weight: _Weight, files: HfFiles) -> None:
    saved, path = files.tensors[name], files.folder / files.tensors[name].file
    wanted = (weight.shape[0] + weight.first_row, *weight.shape[1:])
    if saved.shape != wanted:
        raise UserError(
            f"{path}: {name} has the shape {saved.shape}, and by config.json it is {wanted}; save the model again"
        )
    if saved.dtype not in _READ:
        raise UserError(f"{path}: {name} is in {saved.dtype}, and {', '.join(_READ)} are read; save the model in one")
