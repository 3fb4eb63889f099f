"""Export a checkpoint as a plain `transformers` model with its tokenizer. The folder is complete or not there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils.logging import disable_progress_bar

from apollo_ds.checkpoint.export_folder import (
    OVERWRITE,
    Replaces,
    check_replaceable,
    is_same_folder,
    keep_foreign,
    replacing_folder,
)
from apollo_ds.checkpoint.export_manifest import CARD, write_export_manifest
from apollo_ds.checkpoint.export_tokenizer import exported_tokenizer
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError
from apollo_ds.growth.counters import WEIGHT
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.learned import operator_of
from apollo_ds.growth.learned.transitions import OutOfLearning
from apollo_ds.growth.multiplied_out import MultipliedOut
from apollo_ds.growth.weights_and_moments import Growth, StateMap
from apollo_ds.models.depth_scale import scale_of, scales_at
from apollo_ds.models.families import family_of
from apollo_ds.schedule.stage import Stage
from data_prep.files import hash_of_values, let_others_read, matches

_ROOM_FOR_A_PIPELINE = 512
"""Positions. A text-generation pipeline adds 256 tokens to a prompt, unless the model says how long a text may be."""
_IN_THE_WAY = (FileExistsError, NotADirectoryError, PermissionError)


@dataclass(frozen=True)
class Exported:
    """What an export has done."""

    is_new: bool
    """Whether any file in the folder has changed."""
    keeps_card: bool
    """Whether the folder has a model card that a person wrote or changed. Such a card is kept."""


def export(
    state: SavedState,
    stage: Stage,
    text: Corpus,
    folder: Path,
    replaces: Replaces = Replaces.SAME,
    risen: tuple[float, ...] = (),
    card: str | None = None,
) -> Exported:
    """Write the model in fp32, at the greatest depth that its stage trains; `from_pretrained` loads it.

    Scales that depend on the depth are folded into weights, so that the plain model computes the same outputs.

    The folder appears, or replaces an earlier export, only once it is complete on disk. An error changes nothing there.

    Args:
        state: the checkpoint with the weights.
        stage: the stage that trained them.
        text: the prepared text, which holds the tokenizer.
        folder: where to write.
        replaces: which earlier export in the folder may be replaced.
        risen: the factor of the residual branches at each position, from 0 to 1; empty if all are 1.
        card: the text of the model card; None for an export without one.
    Raises:
        UserError: the layers run on pooled tokens, the tokenizer's files are damaged, or the folder cannot be written
            to or holds something that may not be replaced.
    """
    if stage.pool > 1:
        raise UserError(
            f"{folder}: at step {state.manifest.totals.step:,} the layers run on pooled tokens, which no class of "
            "transformers does; export a checkpoint of a later stage, by --step"
        )
    folder = folder.resolve()  # a link stays; the folder that it points to is replaced
    run, checkpoint = state.manifest.run, hash_of_values(state.manifest.files)
    about = {
        "run": run,
        "step": state.manifest.totals.step,
        "family": stage.shape.family,
        "tokenizer": text.tokenizer_hash,
        "checkpoint": checkpoint,
    }
    before = check_replaceable(folder, run, checkpoint, replaces)
    tokenizer = exported_tokenizer(text, stage.shape)
    model = _model(state, stage, tokenizer, text, risen)
    try:
        with replacing_folder(folder) as unfinished:
            _write(model, tokenizer, card, unfinished)
            written = write_export_manifest(unfinished, **about)
            if before and replaces is Replaces.SAME and before.files != written.files:
                raise UserError(f"{folder}: holds this step as another version exported it; {OVERWRITE}")
            keep_foreign(folder, unfinished)
            kept = unfinished / CARD
            keeps_card = kept.exists() and not (written.card and matches(kept, written.card.model_dump()))
            return Exported(not is_same_folder(folder, unfinished), keeps_card)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        remedy = "name another folder" if isinstance(error, _IN_THE_WAY) else "free space, or name another folder"
        raise UserError(f"{folder}: cannot be written: {reason}; {remedy}") from None


def _write(model: PreTrainedModel, tokenizer: Any, card: str | None, folder: Path) -> None:
    disable_progress_bar()
    model.save_pretrained(folder)
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:  # the tokenizers library raises a plain Exception when the disk is full
        raise OSError(str(error)) from error
    for path in folder.iterdir():
        let_others_read(path)
    if card is not None:
        (folder / CARD).write_text(card, encoding="utf-8")


@torch.no_grad()
def _model(state: SavedState, stage: Stage, tokenizer: Any, text: Corpus, risen: tuple[float, ...]) -> PreTrainedModel:
    """Build the plain model. A layer that runs at several positions is copied to each of them."""
    family = family_of(stage.shape)
    shape = stage.shape.model_copy(update={"num_layers": stage.evaluation_depth})
    config = family.exported_config(shape, tokenizer.pad_token_id)
    for token in ("cls", "sep"):
        if hasattr(config, f"{token}_token_id"):
            setattr(config, f"{token}_token_id", getattr(tokenizer, f"{token}_token_id"))
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id if family.is_masked else text.manifest.tokenizer.end_of_document
    with no_init_weights():
        model = family.model_class()(config)
    if not family.is_masked and shape.max_position_embeddings <= _ROOM_FOR_A_PIPELINE:
        model.generation_config.max_length = shape.max_position_embeddings
    model.tie_weights()
    positions = DepthMap(stage.map_to(shape.num_layers), f"model.{family.blocks}", shape.family)
    scales = scales_at(shape, shape.num_layers, range(shape.num_layers), risen)
    placement: StateMap = (Growth if stage.feed_forward_rank is None else MultipliedOut)(positions)
    if stage.learned_growth:
        placement = OutOfLearning(operator_of(stage.learned_growth, stage))
    exists = set(state.names())
    for name, parameter in model.named_parameters():
        sources = placement.sources(f"model.{name}", exists)
        old = {source: state.gather(source, WEIGHT, torch.device("cpu")) for source in sources}
        weight = placement.apply(f"model.{name}", WEIGHT, old, state.counters)
        if weight is not None:
            position = positions.layer_index(f"model.{name}")
            if position is not None:
                weight = weight * scale_of(family, f"model.{name}", scales[position])
            parameter.copy_(family.exported_weight(name, weight, config))
    return model
