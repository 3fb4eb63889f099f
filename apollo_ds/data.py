"""Training batches from memory-mapped token shards.

The data order is a pure function of the token position in the run: an epoch is all documents in a shuffled order,
cut into blocks of the recipe's `seq_len`, and the blocks shuffled. So the global batch of a step does not depend on
the number of ranks, on the micro-batch, on how a block is cut into shorter samples, or on restarts.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apollo_ds.corpus import Corpus
from apollo_ds.cost import scored_positions
from apollo_ds.counter_random import Stream, permute, random_bits, uniform
from apollo_ds.engine.engine import Batch
from apollo_ds.errors import UserError
from apollo_ds.model_shape import ModelShape
from apollo_ds.models import IGNORED
from apollo_ds.schedule import StepPlan

# Held-out text is masked alike in every run, whatever its seed, so that losses can be compared.
_VALIDATION_SEED = 0


def _open_indexed_dataset(prefix: Path) -> Any:
    """megatron-core's reader; its import takes seconds and complains about GPU packages it does without."""
    logging.getLogger("megatron").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from megatron.core.datasets.indexed_dataset import IndexedDataset

        return IndexedDataset(str(prefix))


class TokenStream:
    """A split's documents, shuffled anew each epoch and joined end to end.

    Raises:
        UserError: the split holds less than one block.
    """

    def __init__(self, folder: Path, split: str, block: int, seed: int) -> None:
        dataset = _open_indexed_dataset(folder / split)
        index = dataset.index
        self.tokens = np.memmap(folder / f"{split}.bin", dtype=index.dtype, mode="r")
        self.first_token = index.sequence_pointers // np.dtype(index.dtype).itemsize
        self.lengths = np.asarray(index.sequence_lengths, dtype=np.int64)
        self.block = block
        self.seed = seed
        # One token beyond the last block is kept: a causal model's last target.
        self.blocks = int(self.lengths.sum() - 1) // block
        if self.blocks < 1:
            raise UserError(f"{folder / split}.bin: {self.lengths.sum()} tokens do not fill one sample of {block}")
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)
        self._ends = np.empty(0, dtype=np.int64)

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens that an epoch serves: whole blocks only."""
        return self.blocks * self.block

    def read(self, position: int, length: int) -> NDArray[np.int64]:
        """`length` tokens, at most a block and one, that stand at a token position of the run."""
        epoch, inside = divmod(position, self.tokens_per_epoch)
        block, offset = divmod(inside, self.block)
        shuffled = permute(np.array([block]), self.blocks, self.seed, Stream.WINDOW_ORDER, epoch)[0]
        return self._read_stream(epoch, int(shuffled) * self.block + offset, length)

    def _read_stream(self, epoch: int, start: int, length: int) -> NDArray[np.int64]:
        self._shuffle_documents(epoch)
        result = np.empty(length, dtype=np.int64)
        filled = 0
        document = int(np.searchsorted(self._ends, start, side="right"))
        while filled < length:
            source = self._order[document]
            offset = start + filled - (self._ends[document] - self.lengths[source])
            count = min(length - filled, self.lengths[source] - offset)
            first = self.first_token[source] + offset
            result[filled : filled + count] = self.tokens[first : first + count]
            filled += count
            document += 1
        return result

    def _shuffle_documents(self, epoch: int) -> None:
        if epoch != self._epoch:
            keys = random_bits(self.seed, Stream.DOCUMENT_ORDER, epoch, np.arange(len(self.lengths)))
            self._order = np.argsort(keys, kind="stable")
            self._ends = np.cumsum(self.lengths[self._order])
            self._epoch = epoch


class BatchSource:
    """Batches of one corpus for one model.

    Raises:
        UserError: a split holds less than one sample.
    """

    def __init__(self, corpus: Corpus, shape: ModelShape, seq_len: int, seed: int) -> None:
        self.corpus = corpus
        self.shape = shape
        self.seq_len = seq_len
        self.seed = seed
        self.train = TokenStream(corpus.folder, "train", seq_len, seed)
        self.validation = TokenStream(corpus.folder, "validation", seq_len, _VALIDATION_SEED)

    def micro_batches(
        self, plan: StepPlan, global_batch_size: int, accumulation_steps: int, rank: int, world_size: int
    ) -> list[Batch]:
        """One rank's part of a step's global batch, in micro-batches."""
        share = global_batch_size // world_size
        micro = share // accumulation_steps
        first = plan.first_token + rank * share * plan.seq_len
        return [
            self._batch(self.train, first + i * micro * plan.seq_len, micro, plan.seq_len, self.seed)
            for i in range(accumulation_steps)
        ]

    def validation_batches(self, samples: int, micro: int, rank: int, world_size: int) -> Iterator[Batch]:
        """One rank's part of the first `samples` held-out samples, or of all there are.

        Every rank gets as many batches: missing samples are stood in for by others without labels.
        """
        samples = min(samples, self.validation.blocks)
        share = -(-samples // world_size)
        for first in range(rank * share, (rank + 1) * share, micro):
            count = min(micro, (rank + 1) * share - first)
            positions = [(i % samples) * self.seq_len for i in range(first, first + count)]
            ids, scored, labels = self._samples(self.validation, positions, self.seq_len, _VALIDATION_SEED)
            for row in range(count):
                if first + row >= samples:
                    labels[row] = IGNORED
            yield ids, scored, labels

    def _batch(self, stream: TokenStream, first: int, count: int, seq_len: int, seed: int) -> Batch:
        return self._samples(stream, [first + i * seq_len for i in range(count)], seq_len, seed)

    def _samples(self, stream: TokenStream, positions: list[int], seq_len: int, seed: int) -> Batch:
        if self.shape.is_masked:
            tokens = np.stack([stream.read(position, seq_len) for position in positions])
            return self._masked(tokens, np.array(positions), seed)
        tokens = np.stack([stream.read(position, seq_len + 1) for position in positions])
        inputs, targets = torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(tokens[:, 1:].copy())
        return inputs, torch.arange(seq_len).expand(len(positions), seq_len), targets

    def _masked(self, tokens: NDArray[np.int64], positions: NDArray[np.int64], seed: int) -> Batch:
        """BERT's masking (Devlin et al. 2019): of 15% of the positions 80% show [MASK], 10% any token, 10% themselves.

        The first token of a sample gives way to [CLS]. Special tokens are not chosen while others are left.
        """
        tokens[:, 0] = self.corpus.cls_token
        rows, columns = positions[:, None], np.arange(tokens.shape[1])[None, :]
        special = np.isin(tokens, self.corpus.special_tokens)
        rank = random_bits(seed, Stream.MASKED_POSITIONS, rows, columns) >> np.uint64(1)
        rank[special] |= np.uint64(1 << 63)
        scored = scored_positions(self.shape, tokens.shape[1])
        chosen = np.sort(np.argpartition(rank, scored - 1, axis=1)[:, :scored], axis=1)
        labels = np.take_along_axis(tokens, chosen, axis=1)
        chance = uniform(seed, Stream.MASK_REPLACEMENT, rows, chosen)
        shown = np.where(chance < 0.8, self.corpus.mask_token, labels)
        any_token = ((chance - 0.8) / 0.1 * self.shape.vocab_size).astype(np.int64)
        shown = np.where((chance >= 0.8) & (chance < 0.9), np.clip(any_token, 0, self.shape.vocab_size - 1), shown)
        unscored = np.take_along_axis(special, chosen, axis=1)
        np.put_along_axis(tokens, chosen, np.where(unscored, labels, shown), axis=1)
        labels[unscored] = IGNORED
        return torch.from_numpy(tokens), torch.from_numpy(chosen), torch.from_numpy(labels)
