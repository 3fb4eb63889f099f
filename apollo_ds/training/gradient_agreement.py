"""Measure how similar the gradients of a shared layer's occurrences are. SWE stops sharing by this measure."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from apollo_ds.engine.processes import Processes
from apollo_ds.growth.counters import WEIGHT
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.state import State
from apollo_ds.models.pretraining import Batch, build
from apollo_ds.models.sample_parts import SampleParts
from apollo_ds.schedule.stage import Stage

_CORRELATED = 0.5


def gradient_agreement(
    state: State,
    stage: Stage,
    batch: Batch,
    processes: Processes,
    parts: SampleParts | None = None,
    risen: tuple[float, ...] = (),
) -> float:
    """The share of neighbouring occurrences of one layer whose gradients have a cosine of at least 0.5.

    It is 1 if no layer occurs twice. The gradients belong to an untied copy of the network at the stage's greatest
    depth, in fp32, and are averaged over the ranks' batches (Yang et al. 2021). Every rank holds the whole copy
    meanwhile, and computes its `parts` of the samples. `risen` holds the factor of each position's residual branches,
    from 0 to 1; empty if all are 1.
    """
    order = stage.map_to(stage.evaluation_depth)
    model = build(stage.shape, len(order), processes.device)
    model.share_samples(parts)
    if risen:
        model.scale_branches()
    model.run_in_order(tuple(range(len(order))), risen=risen)
    placement = DepthMap(order, f"model.{model.family.blocks}", stage.shape.family)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state.gather(placement.source(name), WEIGHT, processes.device))
    model.checkpoint_activations()  # so that it fits in memory if the stage's own batches do
    model.train()(*batch).backward()
    gradients = [processes.sum(_gradient(model.layers[position])) for position in range(len(order))]
    pairs = [(above, below) for above, below in pairwise(range(len(order))) if order[above] == order[below]]
    alike = [float(F.cosine_similarity(gradients[a], gradients[b], dim=0)) >= _CORRELATED for a, b in pairs]
    return sum(alike) / len(alike) if alike else 1.0


def _gradient(block: torch.nn.Module) -> Tensor:
    """All gradients of a block as one flat tensor."""
    return torch.cat([p.grad.flatten() for p in block.parameters() if p.grad is not None])
