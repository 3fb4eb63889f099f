"""A DeepSpeed engine around one stage's model: it takes steps, evaluates, and saves and restores the training state."""

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
"""The least share of tokens with labels to divide by. It makes the loss of a micro-batch without labels 0."""


@dataclass(frozen=True)
class StepResult:
    """The results of a step that are recorded. They are still on the device."""

    loss: Tensor
    """This rank's mean loss over the tokens that have labels, in nats."""
    grad_norm: Tensor
    """The global gradient norm; infinite if the step was skipped because the norm was not finite."""
    began: Any
    ran_forward: Any
    """Time stamps (see `clock`) before and after the first micro-batch's forward pass."""
    squares: Tensor | None
    """Shape (2,): the sums of squares of the update and of the weights before it, over this rank's elements; None if
    not asked for."""


class Engine:
    """One stage's model, optimizer and shards. Close it before you make the next one.

    The model is a skeleton, without memory for its weights. It gets fresh weights from `seed`. Without a seed, restore
    a state into it (`restore.py`).
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
        return_freed_memory()  # the first copy of the weights, before the moments are allocated
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
        """Take one optimizer step over this rank's micro-batches. There is one plan for each micro-batch.

        Layers that no plan trains keep their weights and moments. `measure_update` needs memory for a copy of this
        rank's shard of the weights.
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
            # The number of micro-batches may differ from the fixed number that DeepSpeed expects.
            self.deepspeed.set_gradient_accumulation_boundary(number == len(batches))
            loss = self.deepspeed(*batch)
            stamps.append(timestamp(self.processes.device))
            scaled = self.loss_scaling.of(nan_unless_finite(loss) / len(batches))
            self.deepspeed.backward(scaled, scale_wrt_gas=False)
            # The loss that is trained divides by a fixed number of tokens. The recorded loss is a mean over labels.
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
        """The global gradient norm of the current or the last step; infinite if it is not finite."""
        device = self.processes.device
        if getattr(self.deepspeed.optimizer, "overflow", False):
            return torch.tensor(torch.inf, device=device)
        norm = self._own_norm if self._own_norm is not None else self.deepspeed.optimizer._global_grad_norm
        norm = torch.as_tensor(norm, dtype=torch.float32, device=device) / self.loss_scaling.of_norm
        return torch.where(is_usable(norm), norm, torch.inf)

    def _is_plain(self) -> bool:
        """Whether DeepSpeed uses the optimizer without a wrapper: in fp32 without ZeRO."""
        return self.deepspeed.optimizer is layout.adam(self.deepspeed)

    def _norm_where_deepspeed_has_none(self) -> Tensor | None:
        """The gradient norm in fp32 without ZeRO, where DeepSpeed keeps none; None in other cases.

        There the gradients are whole and already averaged.
        """
        if not self._is_plain() or not self.deepspeed.is_gradient_accumulation_boundary():
            return None
        return sum_of_squares(p.grad for p in self.model.parameters() if p.grad is not None).sqrt().float()

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch], layer_map: LayerMap, risen: tuple[float, ...] = ()) -> float:
        """The mean loss over the batches of all ranks, in nats. Every scored token has the same weight.

        `risen` holds the factor of each layer's residual branches, from 0 to 1; empty if all are 1.
        """
        self.model.run_in_order(layer_map, risen=risen)
        self.deepspeed.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self.processes.device)
        for batch in batches:
            labels = batch[2]
            # A sample without labels fills up an incomplete batch: it adds no loss and does not count.
            real = (labels != IGNORED).sum().double() / labels.shape[1]
            total += torch.stack([self.deepspeed(*batch).double() * len(labels), real])
        self.deepspeed.train()
        loss, counted_samples = self.processes.sum(total).tolist()
        return loss / counted_samples

    @torch.no_grad()
    def logits(
        self, input_ids: Tensor, positions: Tensor, layer_map: LayerMap, risen: tuple[float, ...] = ()
    ) -> Tensor:
        """Compute logits at some positions of this rank's samples, in evaluation mode. All ranks call it together.

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
        """Copy this rank's slices to the CPU. No other rank takes part.

        At ZeRO 0, where every rank holds the whole state, each rank copies an equal share.
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
        """The name, the full shape and this rank's slice of each parameter that trains (`layout.owned_slices`)."""
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
        """Set the weight of a parameter that does not train. `whole` has its full shape."""
        layout.write_frozen(self.model.get_parameter(name), whole, self.processes.rank)
        self.frozen_parameters[name] = share_of(whole, tuple(whole.shape), self.processes)

    def set_counters(self, counters: Counters) -> None:
        """Begin to restore a state: set its counters, and allocate the cohort numbers."""
        layout.set_adam_step(self.deepspeed, counters.adam_step)
        self.loss_scaling.restore(counters.loss_scaler)
        self.births = counters.births
        if len(counters.births) > 1:
            self.cohorts = CohortCorrection(counters.births, layout.flat_tensors(self.deepspeed))

    @torch.no_grad()
    def start_from_restored(self) -> None:
        """Finish restoring: all slices are written, so update the model's weights from them."""
        if self.cohorts:
            self.cohorts.index()
        layout.refresh_weights(self.deepspeed)

    def close(self) -> None:
        """Free everything that the engine holds. A second call does nothing, as after a growth that failed."""
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
