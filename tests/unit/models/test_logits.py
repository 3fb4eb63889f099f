"""Without labels a model returns the logits from which its loss follows."""

import pytest
import torch
import torch.nn.functional as F
from families import VARIANTS, batch_of, shape_of
from small_models import build

from apollo_ds.models.family import Family


@pytest.mark.parametrize("family", VARIANTS.values(), ids=VARIANTS)
def test_the_loss_follows_from_the_logits(family: Family) -> None:
    shape = shape_of(family, 3)
    model = build(shape, 3, seed=1).eval()
    ids, positions, labels = batch_of(shape)
    with torch.no_grad():
        logits = model(ids, positions)
        assert logits.shape == (*positions.shape, shape.vocab_size)
        assert F.cross_entropy(logits.flatten(0, 1), labels.flatten()) == pytest.approx(model(ids, positions, labels))
