"""Documents of one sample do not see each other: what that promises of every model family.

A new file in `models/families` is tested here without a change.
"""

from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
import torch
from emulated_gpu import flex_on_a_cpu
from families import VARIANTS, plus_first, small_map, small_shape
from growths import depth_map, grown, randomised
from operators import FAMILY_NAMES, between, small_weights
from small_models import build, filled
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from apollo_ds.growth.learned.ligo import LiGO
from apollo_ds.growth.learned.model import LearnedGrowthModel, flat_name
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.models.family import Family
from apollo_ds.models.pretraining import Batch, PretrainingModel
from apollo_ds.models.shape import ModelShape

every_family = pytest.mark.parametrize("family", VARIANTS.values(), ids=VARIANTS)
LENGTHS = ([3, 8, 1, 4], [16], [7, 9])
TOKENS = 16
PLACES = torch.tensor([[place for length in lengths for place in range(length)] for lengths in LENGTHS])


def shape(family: Family, layers: int) -> ModelShape:
    sizes = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 24, "vocab_size": 31}
    return small_shape(family, layers, max_position_embeddings=TOKENS, **sizes)


def samples(of: ModelShape, seed: int = 3) -> Batch:
    """Tokens, all but the padding token; every position is scored."""
    ids, labels = torch.randint(1, of.vocab_size, (2, 3, TOKENS), generator=torch.Generator().manual_seed(seed))
    return ids, torch.arange(TOKENS).expand(3, TOKENS), labels, PLACES


def documents(rows: Tensor) -> list[Tensor]:
    """Each document's part of something of each token (batch, tokens, ...)."""
    return [part for row, lengths in zip(rows, LENGTHS, strict=True) for part in row.split(lengths)]


def logits(model: PretrainingModel, batch: Batch) -> Tensor:
    """What the loss is computed from: (batch, tokens, vocabulary)."""
    seen: list[Tensor] = []

    def keep(rows: Tensor, decoder: nn.Linear, *_: Any) -> Tensor:
        seen.append(decoder(rows).view(*batch[0].shape, -1))
        return seen[0].sum()

    with patch("apollo_ds.models.pretraining.summed_cross_entropy", keep), torch.no_grad():
        model(*batch)
    return seen[0]


def exported(model: PretrainingModel, attention: str, pad: int | None) -> Any:
    """A plain model of transformers with the weights, as an export has it."""
    family = model.family
    config = family.exported_config(model.shape, pad)
    config._attn_implementation = attention
    plain = family.model_class()(config).eval()
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.copy_(family.exported_weight(name, model.model.get_parameter(name), config))
    return plain


@every_family
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("padded", [False, True], ids=["alone", "padded"])
@torch.no_grad()
def test_packed_documents_have_the_logits_that_each_has_alone(family: Family, attention: str, padded: bool) -> None:
    model = randomised(build(shape(family, 3), 3, seed=0))
    batch = samples(model.shape)
    plain = exported(model, attention, pad=0 if padded else None)
    for found, ids in zip(documents(logits(model, batch)), documents(batch[0]), strict=True):
        if padded:
            row = nn.functional.pad(ids, (0, TOKENS - len(ids)))[None]
            alone = plain(input_ids=row, attention_mask=(row != 0).long()).logits[0, : len(ids)]
        else:
            alone = plain(input_ids=ids[None]).logits[0]
        assert torch.allclose(found, alone, atol=1e-5)


@every_family
def test_without_places_they_see_each_other(family: Family) -> None:
    model = randomised(build(shape(family, 3), 3, seed=0))
    batch = samples(model.shape)
    apart = logits(model, batch), logits(model, batch[:3])
    assert [torch.allclose(*parts, atol=1e-3) for parts in zip(*map(documents, apart), strict=True)] == [
        lengths == [TOKENS] or (number == 0 and not family.is_masked)
        for lengths in LENGTHS
        for number in range(len(lengths))
    ]


@every_family
@pytest.mark.parametrize(("old", "new"), [(1, 3), (2, 4), (3, 9)])
def test_interpolation_keeps_the_loss_to_the_bit_at_every_depth(family: Family, old: int, new: int) -> None:
    small = randomised(build(shape(family, plus_first(family, 12)), plus_first(family, old), seed=1))
    large, _ = grown(small, Growth(depth_map(family.name, small_map(family, "interpolate", old, new))), small.shape)
    batch = samples(small.shape)
    with torch.no_grad():
        for depth in range(new, 13):
            small.run_in_order(small_map(family, "interpolate", old, depth))
            large.run_in_order(small_map(family, "interpolate", new, depth))
            assert torch.equal(small(*batch), large(*batch)), depth


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_growth_that_is_learned_parts_documents_too(family: str) -> None:
    operator = between(LiGO, family, (2, 4))
    learning = filled(LearnedGrowthModel(operator), seed=3)
    with torch.no_grad():
        for name, weight in small_weights(operator).items():
            learning.get_parameter(flat_name(name)).copy_(weight)
        large = build(operator.new, operator.new_layers, seed=0)
        for name, weight in learning.large_weights().items():
            large.get_parameter(name).copy_(weight)
        batch = samples(operator.new)
        assert torch.allclose(learning(*batch), large(*batch), atol=1e-6)
        assert not torch.allclose(large(*batch), large(*batch[:3]), atol=1e-4)


@every_family
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("in_blocks", [False, True], ids=["whole", "in blocks"])
def test_gradients_are_the_same_however_they_are_computed(
    family: Family, compiled: bool, checkpointed: bool, in_blocks: bool
) -> None:
    torch.compiler.reset()
    gradients = []
    for usual in (True, False):
        model = randomised(build(shape(family, 3), 3, seed=0)).train()
        if not usual and checkpointed:
            model.checkpoint_activations()
        if not usual and compiled:
            model.compile_blocks("aot_eager")
        with flex_on_a_cpu(), patch("apollo_ds.models.pretraining.takes_blocks", lambda *_: not usual and in_blocks):  # noqa: B023
            model(*samples(model.shape)).backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one is not None and torch.allclose(one, other, atol=1e-6)


@every_family
@pytest.mark.parametrize("in_blocks", [False, True], ids=["whole", "in blocks"])
def test_compiled_layers_take_any_documents_without_compiling_again(family: Family, in_blocks: bool) -> None:
    torch.compiler.reset()
    model = randomised(build(shape(family, 2), 2, seed=0))
    expected = [float(model(*samples(model.shape, seed)).detach()) for seed in range(3)]
    counter = CompileCounter()
    model.compile_blocks(counter)
    compiled, found = [], []
    with patch("apollo_ds.models.pretraining.takes_blocks", lambda *_: in_blocks), torch.no_grad():
        for seed in range(3):
            ids, positions, labels, _ = samples(model.shape, seed)
            found.append(float(model(*samples(model.shape, seed))))
            model(ids, positions, labels, PLACES.roll(seed, dims=0))
            compiled.append(counter.frame_count)
    assert found == pytest.approx(expected, abs=1e-5)
    assert all(before == after for before, after in pairwise(compiled))
