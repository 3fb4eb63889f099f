"""Let a masked model fill in the masks of a sentence."""

from dataclasses import dataclass

import torch

from apollo_ds.data.prompts import MASK
from apollo_ds.errors import UserError, shown
from apollo_ds.inference.loaded_model import LoadedModel


@dataclass(frozen=True)
class Candidate:
    """A token that could stand in place of a mask, with its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class Filled:
    """A sentence, and the tokens that a model would write for each of its masks."""

    sentence: str
    """The sentence as the user wrote it."""
    text: str
    """The sentence with the likeliest token for each mask."""
    masks: list[list[Candidate]]
    """The candidates for each mask in order, the likeliest first. For each mask all other masks stay unknown."""


@torch.inference_mode()
def fill(loaded: LoadedModel, sentence: str, top: int) -> Filled:
    """Find the `top` likeliest tokens for each mask. A mask is written as [MASK], or as the tokenizer writes it.

    Raises:
        UserError: the sentence has no mask or is too long, the tokenizer has no mask, or the model has diverged.
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
