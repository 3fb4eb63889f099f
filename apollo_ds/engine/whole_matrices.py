"""Gather each matrix on one rank for as long as Muon needs it whole.

Muon's update needs the whole matrix. At ZeRO 0 every rank has it. At ZeRO 1 and 2 most matrices lie within one rank's
shard, and are orthogonalised there. At ZeRO 3 every matrix is shared by several ranks, and at ZeRO 1 and 2 some are.
Such a matrix is sent to one rank (the ranks take turns), and the parts of the result are sent back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from apollo_ds.engine import layout
from apollo_ds.engine.hardware import DTYPES
from apollo_ds.engine.optimizers import Muon, UpdateScale
from apollo_ds.engine.orthogonal import AT_ONCE, all_orthogonalised, chunked, update_size
from apollo_ds.engine.processes import Processes
from apollo_ds.models.axes import IN, OUT, Dimensions
from apollo_ds.models.factor_names import whole_name
from apollo_ds.models.family import Family
from apollo_ds.models.fused import join, split


@dataclass(frozen=True)
class _Matrix:
    """A parameter, and the place of this rank's part of it in the flat tensor of its group."""

    shape: tuple[int, ...]
    dimensions: Dimensions
    heads: int
    offset: int
    """The first element of the part in the flat tensor."""
    parts: tuple[tuple[int, int], ...]
    """For each rank: its first element of the flattened parameter, and the number of its elements."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()

    def of(self, flat: Tensor, rank: int) -> Tensor:
        """This rank's part in a tensor like its flat one, of shape (length,)."""
        return flat.view(-1).narrow(0, self.offset, self.parts[rank][1])

    def pieces(self, whole: Tensor) -> Sequence[Tensor]:
        """The matrices that the parameter consists of, such as query, key and value."""
        return split(whole.view(self.shape), self.dimensions, self.heads)

    def scale(self, piece: Tensor, how: UpdateScale) -> float:
        """The factor on an orthogonal update of one of these matrices."""
        first = self.dimensions[0]
        outputs, inputs = piece.shape if first is not None and first.side == "out" else piece.shape[::-1]
        return update_size(outputs, inputs, how)


def _dimensions(family: Family, name: str) -> Dimensions:
    """The dimensions of a parameter. A low-rank factor is one matrix, with its outputs on the whole matrix's side."""
    matrix = whole_name(name)
    dimensions = family.dimensions(matrix)
    first = dimensions[0]
    if matrix == name or first is None:
        return dimensions
    return (OUT, IN) if first.side == "out" else (IN, OUT)


class WholeMatrices:
    """Orthogonalises the matrices in the ranks' shards of the groups that Muon updates."""

    def __init__(
        self,
        engine: Any,
        groups: Sequence[layout.FlatGroup],
        options: Muon,
        processes: Processes,
        precision: str,
    ) -> None:
        """Prepare for a DeepSpeed engine of a `PretrainingModel` and its `flat_groups`. All ranks call it together."""
        self._options, self._processes = options, processes
        self._dtype = DTYPES[precision]
        self._is_replicated = layout.is_replicated(engine)
        self._by_flat = self._matrices(engine, groups)

    def _matrices(self, engine: Any, all_groups: Sequence[layout.FlatGroup]) -> dict[Tensor, list[_Matrix]]:
        """The matrices of each flat tensor's group, including those without a part on this rank."""
        model, places = engine.module, layout.locations(engine, all_groups)
        names = {parameter: name for name, parameter in model.named_parameters()}
        groups = [group for group in all_groups if group.options.get("use_muon")]
        parameters = [parameter for group in groups for parameter in group.parameters]
        own = [(place.start, place.length) if (place := places.get(p)) else (0, 0) for p in parameters]
        parts = iter(self._of_all_ranks(own))
        found: dict[Tensor, list[_Matrix]] = {}
        for group in groups:
            found[group.flat] = [
                _Matrix(
                    shape=layout.full_shape(parameter),
                    dimensions=_dimensions(model.family, names[parameter]),
                    heads=model.shape.num_heads,
                    offset=places[parameter].offset if parameter in places else 0,
                    parts=next(parts),
                )
                for parameter in group.parameters
            ]
        return found

    def _of_all_ranks(self, own: list[tuple[int, int]]) -> list[tuple[tuple[int, int], ...]]:
        ranks = self._processes.world_size
        mine = torch.tensor(own, dtype=torch.int64, device=self._processes.device).view(-1, 2)
        theirs = [torch.empty_like(mine) for _ in range(ranks)]
        dist.all_gather(theirs, mine)
        return [tuple((start, length) for start, length in one) for one in torch.stack(theirs, dim=1).tolist()]

    def orthogonalise(self, updates: dict[Tensor, Tensor]) -> None:
        """Orthogonalise and scale updates in place. All ranks call it together, with the same groups in the same order.

        `updates` maps each flat tensor to its momentum, which has the same shape.
        """
        alone: list[tuple[_Matrix, Tensor]] = []
        shared: list[tuple[_Matrix, Tensor]] = []
        rank = self._processes.rank
        for flat, update in updates.items():
            for matrix in self._by_flat[flat]:
                if self._is_replicated or sum(length > 0 for _, length in matrix.parts) == 1:
                    if matrix.parts[rank][1]:
                        alone.append((matrix, matrix.of(update, rank)))
                else:
                    shared.append((matrix, matrix.of(update, rank)))
        for chunk in chunked([matrix.size for matrix, _ in alone], AT_ONCE):
            self._orthogonalise_whole(alone[chunk])
        ranks = self._processes.world_size
        for chunk in chunked([matrix.size for matrix, _ in shared], ranks * AT_ONCE):
            self._orthogonalise_shared(shared[chunk])

    def _orthogonalise_whole(self, found: list[tuple[_Matrix, Tensor]]) -> None:
        device = self._processes.device
        pieces = [list(matrix.pieces(values.to(device))) for matrix, values in found]
        scales = [
            matrix.scale(own[0], self._options.update_scale) for (matrix, _), own in zip(found, pieces, strict=True)
        ]
        results = iter(
            all_orthogonalised([p for own in pieces for p in own], self._options.newton_schulz_steps, self._dtype)
        )
        for (matrix, values), own, scale in zip(found, pieces, scales, strict=True):
            whole = join([next(results) for _ in own], matrix.dimensions, matrix.heads)
            values.copy_(whole.reshape(-1)).mul_(scale)

    def _orthogonalise_shared(self, found: list[tuple[_Matrix, Tensor]]) -> None:
        """Send each shared matrix to one rank, where it is orthogonalised, and send its parts back."""
        ranks, rank, device = self._processes.world_size, self._processes.rank, self._processes.device
        of_rank = [found[owner::ranks] for owner in range(ranks)]
        dtype = torch.bfloat16 if self._dtype == torch.bfloat16 else torch.float32
        sent = torch.cat([values.to(device, dtype) for own in of_rank for _, values in own])
        away = [sum(len(values) for _, values in own) for own in of_rank]
        here = [sum(matrix.parts[other][1] for matrix, _ in of_rank[rank]) for other in range(ranks)]
        came = torch.empty(sum(here), dtype=dtype, device=device)
        dist.all_to_all_single(came, sent, here, away)
        wholes = [(matrix, torch.empty(matrix.size, dtype=dtype, device=device)) for matrix, _ in of_rank[rank]]
        places = [whole.narrow(0, *matrix.parts[other]) for other in range(ranks) for matrix, whole in wholes]
        for place, values in zip(places, came.split([len(place) for place in places]), strict=True):
            place.copy_(values)
        self._orthogonalise_whole(wholes)
        dist.all_to_all_single(sent, torch.cat(places) if places else came, away, here)
        back = [values for own in of_rank for _, values in own]
        for values, result in zip(back, sent.split([len(values) for values in back]), strict=True):
            values.copy_(result)
