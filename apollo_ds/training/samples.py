"""Let the model write short texts during training, to show a person what it has learned."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from apollo_ds.data.prompts import Prompts, common_beginning
from apollo_ds.engine.engine import Engine
from apollo_ds.models.sample_parts import SampleParts
from apollo_ds.rng import Stream, uniform
from apollo_ds.schedule.stage import Stage
from apollo_ds.training.faults.watchdog import Watchdog
from apollo_ds.training.rank_batches import RankBatches

_NEW_TOKENS = 48
_TEMPERATURE, _TOP_P = 0.8, 0.95
_Logits: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A function from token ids (batch, tokens) and positions (batch, scored) to logits (batch, scored, vocab_size)."""


@dataclass(frozen=True)
class Sampler:
    """Lets the model write. All ranks compute the same together, since under ZeRO 3 no rank has all weights."""

    batches: RankBatches
    parts: SampleParts | None
    """The part of each sample that this rank computes in training."""
    watchdog: Watchdog

    def is_due(self, at_end: bool) -> bool:
        """Whether the recipe wants samples after an evaluation, which may be the run's last."""
        wanted = self.batches.recipe.samples
        return wanted == "at_evaluations" or (wanted == "at_end" and at_end)

    def write(self, engine: Engine, stage: Stage, risen: tuple[float, ...]) -> list[dict[str, str]]:
        """Return each prompt and the text that the model makes of it.

        A causal model continues the prompt. A masked model fills in its masks. The training state does not change. The
        list is empty on all ranks but the first. It is also empty while the layers run on pooled tokens, which mix a
        token with later ones.

        Args:
            engine: the engine with the model.
            stage: its stage. The model runs at the stage's greatest depth.
            risen: the factors of the residual branches, as in `Engine.evaluate`.
        """
        if stage.pool > 1:
            return []
        layer_map = stage.map_to(stage.evaluation_depth)
        complete = self._fill_in if self.prompts.is_masked else self._continue
        engine.model.share_samples(None)
        # Do not compile for shapes that do not occur in training.
        with torch.compiler.set_stance("force_eager") if self.batches.recipe.compile_blocks else nullcontext():
            written = complete(partial(self._logits, engine, layer_map, risen))
        engine.model.share_samples(self.parts)
        if not self.batches.processes.is_first:
            return []
        return [self._as_text(*sample) for sample in zip(self.tokens, written, strict=True)]

    @cached_property
    def prompts(self) -> Prompts:
        """The converter between text and tokens."""
        source = self.batches.source
        return Prompts(source.vocabulary, source.family.is_masked, source.seq_len)

    @cached_property
    def tokens(self) -> list[list[int]]:
        """The token ids of each prompt. At the first use all ranks must call it together.

        Raises:
            UserError: the tokenizer's files are damaged, or a prompt of the recipe is too long. Every rank raises it.
        """
        texts, held_out = self.batches.recipe.sample_prompts, self.batches.source.held_out
        shards = [one.stream.streams[0].shards for one in held_out if one.share]
        return self.batches.processes.on_first(
            lambda: self.prompts.of_texts(texts) if texts else self.prompts.of_documents(shards)
        )

    def _logits(
        self, engine: Engine, layer_map: tuple[int, ...], risen: tuple[float, ...], ids: Tensor, positions: Tensor
    ) -> Tensor:
        self.watchdog.progress("samples")
        known = self.batches.source.vocabulary.vocab_size  # a model may have more rows
        return engine.logits(ids, positions, layer_map, risen)[..., :known].nan_to_num()

    def _fill_in(self, logits: _Logits) -> list[list[int]]:
        filled = []
        for prompt in self.tokens:  # one by one: a masked model would see a shorter row's padding
            ids = torch.tensor([prompt])
            best = logits(ids, torch.arange(len(prompt))[None]).argmax(dim=2)
            filled.append(torch.where(ids == self.prompts.corpus.mask_token, best, ids)[0].tolist())
        return filled

    def _continue(self, logits: _Logits) -> list[list[int]]:
        lengths = torch.tensor([len(prompt) for prompt in self.tokens])
        new = min(_NEW_TOKENS, self.prompts.seq_len - int(lengths.max()))
        ids = torch.zeros(len(lengths), int(lengths.max()) + new, dtype=torch.long)
        for row, prompt in zip(ids, self.tokens, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        rows = torch.arange(len(lengths))
        chances = uniform(self.batches.recipe.seed, Stream.SAMPLES, rows[:, None], torch.arange(new))
        for number in range(new):
            # A token does not see the tokens after it, so the padding of a shorter row has no effect.
            ids[rows, lengths + number] = _drawn(logits(ids, (lengths + number - 1)[:, None])[:, 0], chances[:, number])
        written = [row[:length] for row, length in zip(ids.tolist(), (lengths + new).tolist(), strict=True)]
        return [self._to_its_end(tokens, len(prompt)) for tokens, prompt in zip(written, self.tokens, strict=True)]

    def _to_its_end(self, tokens: list[int], begins: int) -> list[int]:
        end = self.prompts.corpus.manifest.tokenizer.end_of_document
        return tokens[: tokens.index(end, begins)] if end in tokens[begins:] else tokens

    def _as_text(self, prompt: list[int], whole: list[int]) -> dict[str, str]:
        before, after = self.prompts.text_of(prompt), self.prompts.text_of(whole)
        if self.prompts.is_masked:
            return {"prompt": before, "text": after}
        place = common_beginning(before, after)
        return {"prompt": after[:place], "text": after[place:]}


def _drawn(logits: Tensor, chances: NDArray) -> Tensor:
    """Draw a token for each row, among the likeliest that together have a probability of `_TOP_P` (nucleus sampling).

    Args:
        logits: shape (batch, vocab_size).
        chances: shape (batch,), uniform in [0, 1).
    Returns:
        Token ids, shape (batch,).
    """
    sorted_probabilities, order = (logits.double() / _TEMPERATURE).softmax(dim=1).sort(dim=1, descending=True)
    before = sorted_probabilities.cumsum(dim=1) - sorted_probabilities
    kept = sorted_probabilities * (before < _TOP_P)
    point = torch.from_numpy(chances)[:, None] * kept.sum(dim=1, keepdim=True)
    place = torch.searchsorted(kept.cumsum(dim=1), point, right=True)
    return order.gather(1, place.clamp(max=order.shape[1] - 1))[:, 0]
