"""A DeepSpeed engine around one stage's model: steps, evaluation, and its training state in and out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import deepspeed
import torch
from torch import Tensor

from apollo_ds.engine import layout
from apollo_ds.engine.clock import timestamp
from apollo_ds.engine.cohorts import CohortCorrection
from apollo_ds.engine.finite import is_usable, nan_unless_finite, skip_unless_finite
from apollo_ds.engine.frozen_layers import FrozenLayers
from apollo_ds.engine.gradient_norm import speed_up_plain_step, speed_up_zero_step, sum_of_squares
from apollo_ds.engine.loss_scaling import LossScaling
from apollo_ds.engine.malloc import keep_freed_memory, return_freed_memory
from apollo_ds.engine.muon import MuonWithAdamW
from apollo_ds.engine.optimizers import Muon
from apollo_ds.engine.options import EngineOptions
from apollo_ds.engine.parameter_groups import parameter_groups
from apollo_ds.engine.placement import place_weights, share_of
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.teardown import tear_down
from apollo_ds.engine.whole_matrices import WholeMatrices
from apollo_ds.growth.counters import Counters
from apollo_ds.growth.stage_model import TrainableModel
from apollo_ds.growth.state import ShardedState, Slice
from apollo_ds.models.layer_map import LayerMap
from apollo_ds.models.loss import IGNORED, share_with_labels
from apollo_ds.models.pretraining import Batch
from apollo_ds.rng import Stream, random_bits
from apollo_ds.schedule.schedule import StepPlan

_LEAST_SHARE = 1e-9
"""Of labels, so that the loss of a micro-batch without any is 0."""


@dataclass(frozen=True)
class StepResult:
    """What a step leaves to be recorded, still on the device."""

    loss: Tensor
    """This rank's mean loss, over the tokens that have labels."""
    grad_norm: Tensor
    """The global gradient norm; infinite where the step was left out because it was not finite."""
    began: Any
    ran_forward: Any
    """Time stamps (see `clock`) before and after the first micro-batch's forward pass."""
    squares: Tensor | None
    """Of this rank's elements, the sums of squares of the update and of the weights before it, where asked for."""


class Engine:
    """One stage's model, optimizer and shards. Close it before the next one is made.

    The model is a skeleton, which gets fresh weights from `seed`. Without one, a state is to be restored (`restore`).
    """

    def __init__(
        self, model: TrainableModel, options: EngineOptions, processes: Processes, seed: int | None = None
    ) -> None:
        self.model, self.processes = model, processes
        self.seed = options.seed
        self.frozen_parameters = place_weights(model, options, processes, seed)
        self.optimizer = options.optimizer.name
        groups, kind = parameter_groups(model, options), options.optimizer
        optimizer = MuonWithAdamW(groups, kind) if isinstance(kind, Muon) else torch.optim.AdamW(groups, fused=True)
        self.deepspeed: Any = deepspeed.initialize(model=model, optimizer=optimizer, config=options.config)[0]
        return_freed_memory()  # of what the weights were before, and before the moments take as much
        self._own_norm: Tensor | None = None
        speed_up_zero_step(self.deepspeed.optimizer)
        if self._is_plain():
            speed_up_plain_step(self.deepspeed, self._norm)
        self.loss_scaling = LossScaling(self.deepspeed)
        self._groups = layout.flat_groups(self.deepspeed)
        layout.prime(self.deepspeed)
        if isinstance(optimizer, MuonWithAdamW):
            optimizer.rate_of = self._rate_of
            optimizer.orthogonalise = WholeMatrices(
                self.deepspeed, self._groups, optimizer.muon, processes, options.precision
            ).orthogonalise
        layout.set_adam_step(self.deepspeed, 0)
        skip_unless_finite(layout.adam(self.deepspeed), self._norm)
        self.births: tuple[int, ...] = (0,)
        self.cohorts: CohortCorrection | None = None
        self.frozen_layers = FrozenLayers(cache(self._slices_of_layer))
        layout.adam(self.deepspeed).register_step_pre_hook(lambda *_: self.frozen_layers.put_aside())
        layout.adam(self.deepspeed).register_step_post_hook(lambda *_: self._after_adam())

    def _rate_of(self, flat: Tensor, group: dict[str, Any]) -> float | Tensor:
        return self.cohorts.rate(flat, group) if self.cohorts else float(group["lr"])

    def _after_adam(self) -> None:
        if self.cohorts:
            self.cohorts.correct(layout.adam(self.deepspeed))
        self.frozen_layers.put_back()

    def train_step(
        self, batches: Sequence[Batch], plans: Sequence[StepPlan], measure_update: bool = False
    ) -> StepResult:
        """One optimizer step over this rank's micro-batches, each run as its plan says.

        Layers that none of the plans trains are the same after the step, and so are their moments. Measuring the
        update takes a copy of this rank's shard of the weights.
        """
        if self.processes.device.type == "cpu":
            keep_freed_memory()
        plan = plans[0]
        for group in layout.adam(self.deepspeed).param_groups:
            group["lr"] = plan.learning_rate * group["lr_factor"]
            newest = plan.new_learning_rate
            group["newest_lr"] = None if newest is None else newest * group["lr_factor"]
        if self.cohorts:
            self.cohorts.begin_step(plan.step, layout.adam(self.deepspeed))
        trained = {layer for plan in plans for layer in plan.layer_map[plan.first_trained :]}
        self.frozen_layers.layers = set(range(self.model.unique_layers)) - trained
        if self.frozen_layers.layers:
            layout.forget_gradients(self.deepspeed)
        if self.model.shape.dropout:
            bits = random_bits(self.seed, Stream.DROPOUT, plan.step, self.processes.rank)
            torch.manual_seed(int(bits) >> 1)
        self.deepspeed.train()
        before = [flat.detach().clone() for flat in layout.flat_tensors(self.deepspeed)] if measure_update else None
        losses, stamps = [], [timestamp(self.processes.device)]
        for number, (batch, own) in enumerate(zip(batches, plans, strict=True), start=1):
            self.model.run_in_order(
                own.layer_map, own.scales, own.first_trained, own.positions, own.drawn_depth, own.risen
            )
            # A step has as many micro-batches as it is given, which need not be DeepSpeed's fixed number of them.
            self.deepspeed.set_gradient_accumulation_boundary(number == len(batches))
            loss = self.deepspeed(*batch)
            stamps.append(timestamp(self.processes.device))
            scaled = self.loss_scaling.of(nan_unless_finite(loss) / len(batches))
            self.deepspeed.backward(scaled, scale_wrt_gas=False)
            # Gradients are those of the sum over a fixed number, however a batch is split; what is told is the mean.
            losses.append(loss.detach() / share_with_labels(batch[2]).clamp(min=_LEAST_SHARE))
            self._own_norm = self._norm_where_deepspeed_has_none()
            self.deepspeed.step()
        self.frozen_layers.forget()
        norm = self._norm()
        self.loss_scaling.end_step()
        return StepResult(torch.stack(losses).mean(), norm, stamps[0], stamps[1], self._squares(before))

    @torch.no_grad()
    def _squares(self, before: list[Tensor] | None) -> Tensor | None:
        if before is None:
            return None
        pairs = zip(layout.flat_tensors(self.deepspeed), before, strict=True)
        sums = [torch.stack([(new - old).square().sum(), old.square().sum()]) for new, old in pairs]
        return torch.stack(sums).sum(dim=0)

    def _norm(self) -> Tensor:
        """The global gradient norm of the step that is being taken, or was last; infinite if it is not a number."""
        device = self.processes.device
        if getattr(self.deepspeed.optimizer, "overflow", False):
            return torch.tensor(torch.inf, device=device)
        norm = self._own_norm if self._own_norm is not None else self.deepspeed.optimizer._global_grad_norm
        norm = torch.as_tensor(norm, dtype=torch.float32, device=device) / self.loss_scaling.of_norm
        return torch.where(is_usable(norm), norm, torch.inf)

    def _is_plain(self) -> bool:
        """Whether the optimizer is Adam itself, with nothing of DeepSpeed around it: fp32 without ZeRO."""
        return self.deepspeed.optimizer is layout.adam(self.deepspeed)

    def _norm_where_deepspeed_has_none(self) -> Tensor | None:
        """In fp32 without ZeRO, DeepSpeed keeps no norm; there the gradients are whole and already averaged."""
        if not self._is_plain() or not self.deepspeed.is_gradient_accumulation_boundary():
            return None
        return sum_of_squares(p.grad for p in self.model.parameters() if p.grad is not None).sqrt().float()

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch], layer_map: LayerMap, risen: tuple[float, ...] = ()) -> float:
        """Mean loss over all ranks' batches, in nats, every scored token weighing the same.

        `risen` says how far the branches of each layer have risen; empty for 1.
        """
        self.model.run_in_order(layer_map, risen=risen)
        self.deepspeed.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self.processes.device)
        for batch in batches:
            labels = batch[2]
            # A sample without labels stands in for one that is missing: it adds no loss and does not count.
            real = (labels != IGNORED).sum().double() / labels.shape[1]
            total += torch.stack([self.deepspeed(*batch).double() * len(labels), real])
        self.deepspeed.train()
        loss, counted_samples = self.processes.sum(total).tolist()
        return loss / counted_samples

    @torch.no_grad()
    def logits(
        self, input_ids: Tensor, positions: Tensor, layer_map: LayerMap, risen: tuple[float, ...] = ()
    ) -> Tensor:
        """Logits at some positions of this rank's samples, as `evaluate` runs them. All ranks call it together.

        Args:
            input_ids: shape (batch, tokens), on any device.
            positions: shape (batch, scored).
            layer_map: the layers that run.
            risen: as in `evaluate`.
        Returns:
            Shape (batch, scored, vocab_size), in fp32 on the CPU.
        """
        self.model.run_in_order(layer_map, risen=risen)
        self.deepspeed.eval()
        device = self.processes.device
        logits: Tensor = self.deepspeed(input_ids.to(device), positions.to(device))
        self.deepspeed.train()
        return logits.float().cpu()

    def capture(self) -> ShardedState:
        """A copy of this rank's slices on the CPU; needs no other rank.

        Where every rank holds everything (ZeRO 0), each copies its equal share.
        """
        slices = {
            name: Slice(
                shape=shape,
                start=part.start,
                tensors={key: tensor.detach().to("cpu", copy=True) for key, tensor in part.tensors.items()},
            )
            for name, shape, part in self._distinct_slices()
        }
        slices |= {
            name: Slice(part.shape, part.start, dict(part.tensors)) for name, part in self.frozen_parameters.items()
        }
        counters = Counters(layout.adam_step(self.deepspeed), self.births, self.loss_scaling.state(), self.optimizer)
        return ShardedState(slices, counters)

    def _slices_of_layer(self, layer: int) -> list[layout.OwnedSlice]:
        prefix = f"model.{self.model.family.blocks}.{layer}."
        return [part for name, _, part in self.slices() if name.startswith(prefix) and part.length]

    def slices(self) -> Iterator[tuple[str, tuple[int, ...], layout.OwnedSlice]]:
        """Name, full shape and this rank's slice of each parameter that trains; see `layout.owned_slices`."""
        return layout.owned_slices(self.deepspeed, self._groups, self.cohorts.masks if self.cohorts else {})

    def _distinct_slices(self) -> Iterator[tuple[str, tuple[int, ...], layout.OwnedSlice]]:
        for name, shape, part in self.slices():
            if layout.is_replicated(self.deepspeed):
                share = -(-part.length // self.processes.world_size)
                first = min(part.length, share * self.processes.rank)
                length = min(share, part.length - first)
                tensors = {key: tensor.narrow(0, first, length) for key, tensor in part.tensors.items()}
                part = layout.OwnedSlice(first, tensors)  # noqa: PLW2901
            yield name, shape, part

    def write_frozen(self, name: str, whole: Tensor) -> None:
        """Give a parameter that does not train its weight, of the full shape."""
        layout.write_frozen(self.model.get_parameter(name), whole, self.processes.rank)
        self.frozen_parameters[name] = share_of(whole, tuple(whole.shape), self.processes)

    def set_counters(self, counters: Counters) -> None:
        """Begin to restore a state: take over its counters, and make room for its cohorts."""
        layout.set_adam_step(self.deepspeed, counters.adam_step)
        self.loss_scaling.restore(counters.loss_scaler)
        self.births = counters.births
        if len(counters.births) > 1:
            self.cohorts = CohortCorrection(counters.births, layout.flat_tensors(self.deepspeed))

    @torch.no_grad()
    def start_from_restored(self) -> None:
        """End what `set_counters` began: the slices are as they should be, and the weights follow from them."""
        if self.cohorts:
            self.cohorts.index()
        layout.refresh_weights(self.deepspeed)

    def close(self) -> None:
        """Free everything the engine holds. A second call does nothing: a growth that failed has closed it already."""
        if hasattr(self, "deepspeed"):
            tear_down(self.deepspeed)
            del (
                self.deepspeed,
                self.model,
                self._groups,
                self.loss_scaling,
                self.frozen_layers,
                self.cohorts,
                self.frozen_parameters,
            )
            return_freed_memory()
