"""Let a causal model continue a prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from apollo_ds.data.prompts import common_beginning
from apollo_ds.errors import UserError
from apollo_ds.inference.loaded_model import LoadedModel
from apollo_ds.inference.sampling import Sampling

Ending: TypeAlias = Literal["end_of_text", "max_new_tokens", "positions"]


@dataclass(frozen=True)
class Generated:
    """A text that a model has written."""

    prompt: str
    """As the caller gave it."""
    text: str
    """The text that follows the prompt."""
    tokens: int
    """The number of new tokens."""
    ended: Ending
    """Why the text ends: the model ended it, it has as many tokens as asked for, or the model takes no more tokens."""


def generate(loaded: LoadedModel, prompts: Sequence[str], sampling: Sampling) -> Iterator[Generated]:
    """Continue each prompt. With an empty prompt the model begins a text of its own.

    Raises:
        UserError: a prompt is so long that no token can follow, a prompt is empty and the tokenizer has no token to
            begin a text with, or the model has diverged.
    """
    encoded = [
        _encoded(loaded, prompt) for prompt in prompts
    ]  # all of them first, so that a mistake is reported before any text is written
    torch.manual_seed(sampling.seed)
    for prompt, ids in zip(prompts, encoded, strict=True):
        yield from _continued(loaded, prompt, ids, sampling)


class _Finite(LogitsProcessor):
    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._loaded.check_finite(scores)
        return scores


def _encoded(loaded: LoadedModel, prompt: str) -> list[int]:
    tokenizer, most = loaded.saved.tokenizer, loaded.saved.positions
    ids: list[int] = tokenizer(prompt).input_ids
    if not ids:
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if first is None:
            raise UserError("PROMPT: is empty, and the tokenizer has no token to begin a text with; write a word")
        ids = [first]
    if most is not None and len(ids) >= most:
        raise UserError(
            f"PROMPT: has {len(ids):,} tokens, and {loaded.saved.name} takes at most {most:,} with those that follow; "
            f"shorten it by {len(ids) - most + 1:,} or more"
        )
    return ids


@torch.inference_mode()
def _continued(loaded: LoadedModel, prompt: str, ids: list[int], sampling: Sampling) -> list[Generated]:
    model, tokenizer, most = loaded.model, loaded.saved.tokenizer, loaded.saved.positions
    room = sampling.max_new_tokens if most is None else min(sampling.max_new_tokens, most - len(ids))
    given = torch.tensor([ids], device=model.device)
    rows = model.generate(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=room,
        num_return_sequences=sampling.count,
        pad_token_id=tokenizer.pad_token_id,
        logits_processor=LogitsProcessorList([_Finite(loaded)]),
        **sampling.options,
    ).tolist()
    before = tokenizer.decode(ids, skip_special_tokens=True)
    generated = []
    for row in rows:
        length = _length(row, len(ids), model.generation_config.eos_token_id)
        text = tokenizer.decode(row[:length], skip_special_tokens=True)
        ended: Ending = "end_of_text" if length < len(row) else "max_new_tokens"
        if ended == "max_new_tokens" and room < sampling.max_new_tokens:
            ended = "positions"
        generated.append(Generated(prompt, text[common_beginning(before, text) :], length - len(ids), ended))
    return generated


def _length(row: list[int], begins: int, ends: int | list[int] | None) -> int:
    """The number of tokens from the place `begins` up to the first token that ends a text."""
    known = {ends} if isinstance(ends, int) else set(ends or ())
    return next((place for place in range(begins, len(row)) if row[place] in known), len(row))
