"""From a checkpoint to a plain `transformers` model with its tokenizer."""

from pathlib import Path

import torch
from transformers import AutoTokenizer
from transformers.initialization import no_init_weights
from transformers.utils.logging import disable_progress_bar

from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.growth.counters import WEIGHT
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.learned import operator_of
from apollo_ds.growth.learned.transitions import OutOfLearning
from apollo_ds.growth.weights_and_moments import Growth, StateMap
from apollo_ds.models.families import family_of
from apollo_ds.schedule.stage import Stage


@torch.no_grad()
def export(state: SavedState, stage: Stage, tokenizer_folder: Path, folder: Path) -> None:
    """Write the model in fp32, of the shape and the greatest depth that its stage trains; `from_pretrained` loads it.

    Layers that are still shared are written at each position they run at.
    """
    family = family_of(stage.shape)
    shape = stage.shape.model_copy(update={"num_layers": stage.evaluation_depth})
    config = family.config(shape)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    if not family.counts_positions_from_padding:
        config.pad_token_id = tokenizer.pad_token_id
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    with no_init_weights():
        model = family.model_class()(config)
    model.tie_weights()
    placement: StateMap = Growth(DepthMap(stage.map_to(shape.num_layers), f"model.{family.blocks}", shape.family))
    if stage.learned_growth:
        placement = OutOfLearning(operator_of(stage.learned_growth, stage))
    exists = set(state.names())
    for name, parameter in model.named_parameters():
        sources = placement.sources(f"model.{name}", exists)
        old = {source: state.gather(source, WEIGHT, torch.device("cpu")) for source in sources}
        weight = placement.apply(f"model.{name}", WEIGHT, old, state.counters)
        if weight is not None:
            parameter.copy_(weight)
    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
