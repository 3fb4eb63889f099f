"""Filling in masks: what a masked model makes of a sentence."""

from dataclasses import dataclass

import torch

from apollo_ds.data.prompts import MASK
from apollo_ds.errors import UserError, shown
from apollo_ds.inference.loaded_model import LoadedModel


@dataclass(frozen=True)
class Candidate:
    """A token that could stand for a mask."""

    token: str
    probability: float


@dataclass(frozen=True)
class Filled:
    """A sentence, and what a model would write for each of its masks."""

    sentence: str
    """As the user wrote it."""
    text: str
    """With the likeliest token for each mask."""
    masks: list[list[Candidate]]
    """For each mask in order, the likeliest first. Each is judged with all others unknown."""


@torch.inference_mode()
def fill(loaded: LoadedModel, sentence: str, top: int) -> Filled:
    """The `top` likeliest tokens for each mask, which is spelt [MASK] or as the tokenizer spells it.

    Raises:
        UserError: the sentence has no mask or is too long, the tokenizer knows none, or the model has diverged.
    """
    tokenizer = loaded.saved.tokenizer
    ids = torch.tensor([_encoded(loaded, sentence)])
    masked = ids[0] == tokenizer.mask_token_id
    logits = loaded.model(input_ids=ids.to(loaded.model.device)).logits[0].float().cpu()
    loaded.check_finite(logits[masked])
    probabilities = logits[masked].softmax(dim=1)
    likeliest = probabilities.topk(min(top, probabilities.shape[1]), dim=1)
    filled = ids[0].masked_scatter(masked, likeliest.indices[:, 0])
    rows = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    return Filled(
        sentence,
        tokenizer.decode(filled.tolist(), skip_special_tokens=True),
        [[Candidate(tokenizer.decode([i]).strip(), p) for i, p in zip(*row, strict=True)] for row in rows],
    )


def _encoded(loaded: LoadedModel, sentence: str) -> list[int]:
    tokenizer, most = loaded.saved.tokenizer, loaded.saved.positions
    if tokenizer.mask_token is None:
        raise UserError(f"{loaded.saved.name}: its tokenizer has no mask; save the tokenizer that it was trained with")
    ids: list[int] = tokenizer(sentence.replace(MASK, tokenizer.mask_token)).input_ids
    if tokenizer.mask_token_id not in ids:
        raise UserError(f"SENTENCE: {shown(sentence)} has no {MASK}; write it where a word is to be filled in")
    if most is not None and len(ids) > most:
        raise UserError(
            f"SENTENCE: has {len(ids):,} tokens, and {loaded.saved.name} takes at most {most:,}; "
            f"shorten it by {len(ids) - most:,} or more"
        )
    return ids
