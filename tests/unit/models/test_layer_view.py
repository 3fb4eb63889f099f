"""Layers as they run: slices, and kinds of attention that belong to positions."""

from typing import Any

import pytest
import torch
from families import small_shape
from small_models import build
from torch import Tensor, nn

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.layer_view import LayerView
from apollo_ds.models.pretraining import PretrainingModel

SIZES = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 24, "vocab_size": 31, "max_position_embeddings": 16}


def view(layers: int, order: tuple[int, ...]) -> LayerView:
    blocks = LayerView([nn.Identity() for _ in range(layers)])
    blocks.order = order
    return blocks


def test_a_slice_of_all_that_runs_is_the_view_with_its_order() -> None:
    layers = view(2, (0, 0, 1, 1))
    for whole in (slice(None), slice(4), slice(0, 12), slice(None, None, 1)):
        assert layers[whole] is layers
        assert list(layers[whole]) == [layers[0], layers[0], layers[1], layers[1]]


@pytest.mark.parametrize("part", [slice(2), slice(1, None), slice(None, None, 2), slice(-1), slice(None, None, -1)])
def test_a_slice_that_would_leave_some_out_is_refused(part: slice) -> None:
    with pytest.raises(IndexError, match="of 4 layers that run would leave some out"):
        view(2, (0, 0, 1, 1))[part]


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_class_that_slices_its_layers_runs_all_of_them(family: str) -> None:
    model = build(small_shape(FAMILIES[family], 4, **SIZES), 2, seed=0)
    ran = calls(model)
    model.run_in_order((0, 0, 1, 1))
    model(*batch())
    assert ran == [0, 0, 1, 1]


def test_where_layers_are_skipped_the_others_keep_the_attention_of_their_positions() -> None:
    shape = small_shape(FAMILIES["modernbert"], 4, **SIZES)
    model = build(shape, 4, seed=0)
    types = model.family.attention_types(shape)
    assert types == ("full_attention", "sliding_attention", "sliding_attention", "full_attention")
    seen = attention_types(model)
    model.run_in_order((0, 2, 3), positions=(0, 2, 3))
    model(*batch())
    assert seen == [types[0], types[2], types[3]]
    model.run_in_order((0, 1, 1, 1))  # shared: as at their positions
    seen.clear()
    model(*batch())
    assert seen == list(types)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.arange(32).view(2, 16) % 31
    return ids, torch.arange(4).expand(2, 4), ids[:, :4]


def calls(model: PretrainingModel) -> list[int]:
    """The numbers of the layers that run, from now on."""
    found: list[int] = []
    for number, block in enumerate(model.layers.children()):
        block.register_forward_pre_hook(lambda *_, number=number: found.append(number))
    return found


def attention_types(model: PretrainingModel) -> list[str]:
    """The kind of attention that each layer gets a mask for, from now on."""
    found: list[str] = []

    def note(_: nn.Module, __: Any, options: dict[str, Any]) -> None:
        mask = options["attention_mask"]
        found.append("full_attention" if mask is None or bool(mask.all()) else "sliding_attention")

    for block in model.layers.children():
        block.register_forward_pre_hook(note, with_kwargs=True)
    return found
