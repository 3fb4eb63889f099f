"""Models: unmodified `transformers` classes whose list of blocks runs in the order of a layer map.

A new family is one `Family` in the table below, and its sizes in `model_shape.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights

from apollo_ds.layer_map import LayerMap
from apollo_ds.model_shape import ModelShape

IGNORED = -100


class LayerView(nn.ModuleList):
    """A list of unique blocks that iterates in the order of a layer map, so a block may run several times.

    Indexing and `len` see the unique blocks; only iteration, which is how the models run them, follows the map.
    """

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__(blocks)
        self.order: LayerMap = tuple(range(len(blocks)))

    def __iter__(self) -> Iterator[nn.Module]:
        return (self[index] for index in self.order)


@dataclass(frozen=True)
class Family:
    """Where a model family keeps what the package needs."""

    model_class: type[PreTrainedModel]
    config: Callable[[ModelShape], PretrainedConfig]
    backbone: str
    blocks: str
    """Path of the block list; parameters are named `{blocks}.{index}.{rest}`."""
    head: Callable[[Any, Tensor], Tensor]
    """Logits (..., vocab_size) from hidden states (..., hidden_size)."""


def _bert_config(shape: ModelShape) -> PretrainedConfig:
    return BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
    )


def _gpt2_config(shape: ModelShape) -> PretrainedConfig:
    return GPT2Config(
        vocab_size=shape.vocab_size,
        n_embd=shape.hidden_size,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        n_inner=shape.intermediate_size,
        n_positions=shape.max_position_embeddings,
        bos_token_id=None,
        eos_token_id=None,
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=shape.dropout,
    )


FAMILIES: dict[str, Family] = {
    "bert": Family(
        model_class=BertForMaskedLM,
        config=_bert_config,
        backbone="bert",
        blocks="bert.encoder.layer",
        head=lambda model, hidden: model.cls(hidden),
    ),
    "gpt2": Family(
        model_class=GPT2LMHeadModel,
        config=_gpt2_config,
        backbone="transformer",
        blocks="transformer.h",
        head=lambda model, hidden: model.lm_head(hidden),
    ),
}


class PretrainingModel(nn.Module):
    """A language model and its pretraining loss.

    `forward(input_ids, positions, labels)` takes token ids (batch, seq_len), the positions to score
    (batch, scored) and their target ids (batch, scored), and returns the summed cross-entropy divided by
    batch * scored, in nats. Dividing by a fixed number makes the loss of a batch the mean of its parts' losses,
    however it is split; targets of -100 add nothing.
    """

    def __init__(self, shape: ModelShape, model: PreTrainedModel) -> None:
        super().__init__()
        self.shape = shape
        self.family = FAMILIES[shape.family]
        self.model = model
        parent, _, name = self.family.blocks.rpartition(".")
        blocks = cast(nn.ModuleList, model.get_submodule(self.family.blocks))
        setattr(model.get_submodule(parent), name, LayerView(list(blocks)))

    def run_in_order(self, layer_map: LayerMap) -> None:
        """Make the next forward run these unique layers, in this order."""
        cast(LayerView, self.model.get_submodule(self.family.blocks)).order = layer_map

    def forward(self, input_ids: Tensor, positions: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        backbone = self.model.get_submodule(self.family.backbone)
        hidden = backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        if positions.shape[1] < hidden.shape[1]:
            index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            hidden = hidden.gather(1, index)
        logits = self.family.head(self.model, hidden)
        total = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / labels.numel()


def build(shape: ModelShape, unique_layers: int, seed: int | None) -> PretrainingModel:
    """A freshly initialised model with so many unique blocks, the same for the same seed.

    Weights are drawn as for the full depth: GPT-2 scales its residual projections by the number of layers. Without a
    seed they are left as memory happens to be, for a model that is to be filled from a state.
    """
    family = FAMILIES[shape.family]
    config = family.config(shape.model_copy(update={"num_layers": unique_layers}))
    with no_init_weights():
        model = family.model_class(config)
    config.num_hidden_layers = shape.num_layers
    if seed is None:
        model.tie_weights()
        return PretrainingModel(shape, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.init_weights()
    return PretrainingModel(shape, model)
