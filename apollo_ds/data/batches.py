"""Make training batches from memory-mapped shards of tokens.

The order of the data is a pure function of the token position in the run. In an epoch all documents are shuffled,
joined, and cut into blocks of the recipe's `seq_len`. Then the blocks are shuffled. So the global batch of a step does
not depend on the number of ranks, on the micro-batch, on restarts, or on how a block is cut into shorter samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from apollo_ds.data.corpus import Corpus
from apollo_ds.data.mixture import Mixture
from apollo_ds.data.text import Text
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of
from apollo_ds.models.loss import IGNORED
from apollo_ds.models.pretraining import Batch
from apollo_ds.models.shape import ModelShape
from apollo_ds.rng import Stream, random_bits, uniform
from data_prep.masking import Masking

# Held-out text is masked the same in every run, whatever its seed, so that losses can be compared.
_VALIDATION_SEED = 0
_LOOKED_AT = 64
"""At most this many held-out samples are searched for a token to predict."""


@dataclass(frozen=True)
class HeldOutSet:
    """A held-out text with a loss of its own."""

    name: str
    stream: Mixture
    share: float
    """The weight of the set in the run's held-out loss. 0 for a set that is only measured."""
    bytes_per_token: float | None
    """Bytes of text per token. None if the manifest does not have them."""


class BatchSource:
    """The batches of a text for one model.

    With `whole_words` words are masked, not single tokens. With `parts_documents` a batch also has the position of each
    token within its document's piece of the sample, from 0.

    Raises:
        UserError: a split holds less than one sample, or the tokenizer does not show where words start.
    """

    def __init__(
        self,
        text: Text,
        shape: ModelShape,
        seq_len: int,
        seed: int,
        whole_words: bool = False,
        parts_documents: bool = False,
    ) -> None:
        self.text = text
        self.vocabulary = text.vocabulary
        self.shape = shape
        self.seq_len = seq_len
        self.seed = seed
        self.parts_documents = parts_documents
        self.train = Mixture.of(text, seq_len, seed)
        shares = [(source.name, source.corpus, source.share) for source in text.sources]
        measured = [(name, corpus, 0.0) for name, corpus in text.measured]
        self.held_out = [self._held_out(*one) for one in (*shares, *measured)]
        self.family = family_of(shape)
        if self.family.is_masked:
            tokens = self.vocabulary
            continues = tokens.word_continuations() if whole_words else None
            self.masking = Masking.of(tokens.vocab_size, tokens.mask_token, tokens.special_tokens, continues)

    def _held_out(self, name: str, corpus: Corpus, share: float) -> HeldOutSet:
        split = corpus.manifest.splits["validation"]
        stream = TokenStream(corpus.folder, "validation", self.seq_len, _VALIDATION_SEED)
        size = None if split.bytes is None else split.bytes / split.tokens
        return HeldOutSet(name, Mixture([stream], [1.0], self.seq_len, _VALIDATION_SEED), share, size)

    def micro_batches(
        self, first_token: int, seq_len: int, global_batch_size: int, micro_batch: int, rank: int, world_size: int
    ) -> list[Batch]:
        """One rank's part of the global batch that begins at token `first_token` of the run.

        The part has global_batch_size / world_size samples, in micro-batches of `micro_batch` samples. A sample has
        `seq_len` tokens, at most as many as the source's own `seq_len`.
        """
        share = global_batch_size // world_size
        first = first_token + rank * share * seq_len
        positions = first + np.arange(share) * seq_len
        batch = self._samples(self.train, positions, seq_len, self.seed)
        return list(zip(*(tensor.split(micro_batch) for tensor in batch), strict=True))

    def validation_batches(
        self, samples: int, micro: int, rank: int, world_size: int, number: int = 0
    ) -> Iterator[Batch]:
        """One rank's part of the first `samples` samples of a held-out set, in batches of `micro`.

        If the set has fewer samples, all are read. Every rank gets the same number of batches. Missing samples are
        filled up with samples that have no labels.
        """
        stream = self.held_out[number].stream
        samples = min(samples, stream.blocks)
        share = -(-samples // world_size)
        for first in range(rank * share, (rank + 1) * share, micro):
            numbers = np.arange(first, min(first + micro, (rank + 1) * share))
            positions = numbers % samples * self.seq_len
            batch = self._samples(stream, positions, self.seq_len, _VALIDATION_SEED)
            batch[2][torch.from_numpy(numbers >= samples)] = IGNORED
            yield batch

    def check_scores(self, samples: int) -> None:
        """Check that the first `samples` held-out samples have something to predict for a masked model.

        Raises:
            UserError: there are only special tokens.
        """
        if not self.family.is_masked:
            return
        for number, held_out in enumerate(self.held_out):
            looked_at = min(samples, _LOOKED_AT, held_out.stream.blocks)
            labels = next(self.validation_batches(looked_at, looked_at, rank=0, world_size=1, number=number))[2]
            if (labels == IGNORED).all():
                folder = held_out.stream.streams[0].prefix.parent
                key = "data" if held_out.share else f"held_out.{held_out.name}"
                raise UserError(
                    f"{key}: {folder}: its first {looked_at} held-out samples of {self.seq_len} tokens hold "
                    "only [CLS] and the ends of documents, so there is nothing to predict; raise seq_len, or prepare "
                    "longer documents"
                )

    def _samples(self, stream: Mixture, positions: NDArray[np.int64], seq_len: int, seed: int) -> Batch:
        """The batch of samples that start at these token positions of the run."""
        tokens, places = self._read(stream, positions, seq_len + (not self.family.is_masked))
        # Each row needs its own memory: a pinned copy keeps the strides, and PyTorch does not write to shared memory.
        parted = [] if places is None else [torch.from_numpy(places)[:, :seq_len].contiguous()]
        if self.family.is_masked:
            tokens[:, 0] = self.vocabulary.cls_token
            if places is not None:
                tokens[places == 0] = self.vocabulary.cls_token
            return (*self._masked(tokens, positions, seed), *parted)
        read = torch.from_numpy(tokens)
        # Clones, because targets are written to: for a single row both would be views of the same numbers.
        inputs, targets = (part.clone(memory_format=torch.contiguous_format) for part in (read[:, :-1], read[:, 1:]))
        return (inputs, torch.arange(seq_len).repeat(len(positions), 1), targets, *parted)

    def _read(
        self, mixture: Mixture, positions: NDArray[np.int64], length: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Tokens, and with `parts_documents` their positions in their documents, both of shape (positions, length)."""
        tokens = np.empty((len(positions), length), dtype=np.int64)
        places = np.empty_like(tokens) if self.parts_documents else None
        for stream, here, inside in mixture.by_stream(positions):
            if places is None:
                read = stream.read(inside, length)
            else:
                read, places[here] = stream.read_in_documents(inside, length)
            if read.min() < 0 or read.max() >= self.vocabulary.vocab_size:
                files = ", ".join(str(path) for _, path in stream.pairs)
                raise UserError(
                    f"data: {files}: damaged: holds a token that the tokenizer lacks: restore it, or remove "
                    f"{stream.prefix.parent} and make it again"
                )
            tokens[here] = read
        return tokens, places

    def _masked(self, tokens: NDArray[np.int64], positions: NDArray[np.int64], seed: int) -> Batch:
        """Samples for BERT. The random numbers for the masks follow from the positions of the samples."""
        rows = positions[:, None]
        bits = random_bits(seed, Stream.MASKED_POSITIONS, rows, np.arange(tokens.shape[1])[None, :])
        chosen = self.masking.choose(tokens, bits, self.family.scored_positions(tokens.shape[1]))
        chance = uniform(seed, Stream.MASK_REPLACEMENT, rows, chosen)
        labels = self.masking.show(tokens, chosen, chance, ignored=IGNORED)
        return torch.from_numpy(tokens), torch.from_numpy(chosen), torch.from_numpy(labels)
