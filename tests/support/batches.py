"""A model of random weights with a batch for it."""

import torch
from recipes import tiny
from small_models import build

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.loss import IGNORED
from apollo_ds.models.pretraining import Batch, PretrainingModel


def model_and_batch(family: str, samples: int) -> tuple[PretrainingModel, Batch]:
    """Six layers of random weights, and samples of which one scored position in seven has no label."""
    shape = tiny(family, "unused").model
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(shape.vocab_size, (samples, 32), generator=random)
    scored = FAMILIES[family].scored_positions(32)
    labels = torch.randint(shape.vocab_size, (samples, scored), generator=random)
    labels.flatten()[::7] = IGNORED
    return build(shape, 6, seed=1), (ids, torch.arange(scored).expand(samples, scored), labels)
