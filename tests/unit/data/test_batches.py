"""Batches: the same for any number of ranks, every block once an epoch, BERT's masking, held-out text alike for all."""

import json
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numbered_text import CLS, MASK, SEP, SPECIAL, VOCAB_SIZE, numbered, prepared
from torch import Tensor

from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.text import Text
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.loss import IGNORED

BLOCK = 32


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """2,000 different tokens to train on, 500 held out."""
    return prepared(tmp_path_factory.mktemp("numbered"), numbered(2000), numbered(500, seed=1))


@pytest.fixture(scope="module")
def long_text(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """90,000 different tokens."""
    return prepared(tmp_path_factory.mktemp("long"), numbered(90_000), numbered(500))


def source(corpus: Corpus, family: str, seed: int = 42, block: int = BLOCK) -> BatchSource:
    shape = FAMILIES[family].shape_class(
        family=family, num_layers=1, hidden_size=8, num_heads=1, intermediate_size=8, vocab_size=VOCAB_SIZE
    )
    return BatchSource(Text.of(corpus), shape, block, seed)


def global_batch(
    batches: BatchSource, first_token: int, samples: int, seq_len: int = BLOCK, ranks: int = 1, accumulation: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """A step's inputs, scored positions and labels, of all ranks in their order."""
    micro = samples // ranks // accumulation
    parts = [
        part
        for rank in range(ranks)
        for part in batches.micro_batches(first_token, seq_len, samples, micro, rank, ranks)
    ]
    assert len(parts) == ranks * accumulation
    inputs, positions, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return inputs, positions, labels


def pinned(tensor: Tensor) -> Tensor:
    """`Tensor.pin_memory` without a GPU: PyTorch allocates with the strides of the source, then copies into that."""
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype).copy_(tensor)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_can_be_pinned(family: str, text: Corpus) -> None:
    batches = source(text, family)
    for batch in (*batches.micro_batches(0, BLOCK, 8, 4, 0, 1), *batches.validation_batches(8, 4, 0, 1)):
        assert same(batch, tuple(map(pinned, batch)))


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 2), (1, 8), (2, 1), (2, 4), (4, 1), (4, 2), (8, 1)])
def test_ranks_and_accumulation_do_not_change_the_global_batch(
    ranks: int, accumulation: int, family: str, text: Corpus
) -> None:
    batches = source(text, family)
    for step in (0, 1, 7, 30):  # an epoch ends inside step 7
        first_token = step * 8 * BLOCK
        divided = global_batch(batches, first_token, 8, ranks=ranks, accumulation=accumulation)
        assert same(divided, global_batch(batches, first_token, 8))


def test_steps_are_read_alike_in_any_order(text: Corpus) -> None:
    forwards, backwards = source(text, "bert"), source(text, "bert")
    first = [global_batch(forwards, step * 8 * BLOCK, 8) for step in range(20)]
    again = [global_batch(backwards, step * 8 * BLOCK, 8) for step in reversed(range(20))][::-1]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(same(a, b) for a, b in pairwise(first))


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_serves_every_block_once(epoch: int, text: Corpus) -> None:
    batches = source(text, "gpt2")
    blocks = batches.train.blocks
    assert blocks == (2000 - 1) // BLOCK
    inputs, _, labels = global_batch(batches, epoch * blocks * BLOCK, blocks)
    for served in (inputs, labels):
        assert len(set(served.flatten().tolist())) == blocks * BLOCK
    assert len(set(inputs.flatten().tolist()) | set(labels.flatten().tolist())) == blocks * BLOCK + 1


def test_epochs_differ_in_the_order_of_blocks_and_documents(text: Corpus) -> None:
    batches = source(text, "gpt2")
    blocks = batches.train.blocks
    first, second = (global_batch(batches, epoch * blocks * BLOCK, blocks)[0] for epoch in range(2))
    assert not torch.equal(first, second)
    assert len({tuple(row) for row in first.tolist()} & {tuple(row) for row in second.tolist()}) < blocks / 10


def test_each_epoch_of_a_single_document_has_its_blocks_in_another_order(tmp_path: Path) -> None:
    batches = source(prepared(tmp_path, [np.arange(10, 2000)], numbered(100)), "gpt2")
    blocks = batches.train.blocks
    first, second = (global_batch(batches, epoch * blocks * BLOCK, blocks)[0][:, 0].tolist() for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(10, 10 + blocks * BLOCK, BLOCK))
    assert first != second


def test_blocks_do_not_come_in_the_order_of_the_file(text: Corpus) -> None:
    first = global_batch(source(text, "gpt2"), 0, 60)[0]
    starts = first[:, 0].tolist()
    assert starts != sorted(starts)
    assert sum(after - before == BLOCK for before, after in pairwise(starts)) < 10


def test_the_order_follows_the_seed(text: Corpus) -> None:
    assert same(global_batch(source(text, "bert", 7), 0, 8), global_batch(source(text, "bert", 7), 0, 8))
    assert not same(global_batch(source(text, "bert", 7), 0, 8), global_batch(source(text, "bert", 8), 0, 8))


@pytest.mark.parametrize("shorter", [4, 8, 16])
def test_shorter_samples_hold_the_same_tokens_in_the_same_order(shorter: int, text: Corpus) -> None:
    batches = source(text, "gpt2")
    for first_token in (0, 4 * BLOCK, 60 * BLOCK):
        whole = global_batch(batches, first_token, 4)
        cut = global_batch(batches, first_token, 4 * BLOCK // shorter, seq_len=shorter)
        assert cut[0].shape == (4 * BLOCK // shorter, shorter)
        for a, b in ((whole[0], cut[0]), (whole[2], cut[2])):
            assert torch.equal(a.flatten(), b.flatten())


def test_the_target_of_a_causal_model_is_the_next_token(text: Corpus) -> None:
    inputs, positions, labels = global_batch(source(text, "gpt2"), 0, 60)
    assert torch.equal(inputs[:, 1:], labels[:, :-1])
    assert torch.equal(positions, torch.arange(BLOCK).expand(60, BLOCK))
    last_of_document = torch.tensor([document[-1] for document in numbered(2000)])
    inside = ~torch.isin(inputs, last_of_document)
    assert inside[:, -1].sum() > 30
    assert torch.equal(labels[inside], inputs[inside] + 1)


@pytest.mark.parametrize("seq_len", [4, 8, 16, 20, 32, 50])
def test_fifteen_percent_of_bert_s_positions_are_scored(seq_len: int, text: Corpus) -> None:
    inputs, positions, labels = global_batch(source(text, "bert", block=seq_len), 0, 30, seq_len=seq_len)
    assert positions.shape == labels.shape == (30, max(1, round(0.15 * seq_len)))
    assert (positions.diff(dim=1) > 0).all()
    assert positions.min() > 0
    assert positions.max() < seq_len
    assert (inputs[:, 0] == CLS).all()
    assert not torch.isin(labels, torch.tensor([*SPECIAL, IGNORED])).any()


def test_masking_changes_only_scored_positions(text: Corpus) -> None:
    batches = source(text, "bert")
    inputs, positions, labels = global_batch(batches, 0, 60)
    original = torch.from_numpy(batches.train.streams[0].read(np.arange(60) * BLOCK, BLOCK))
    assert torch.equal(labels, original.gather(1, positions))
    original[:, 0] = CLS
    changed = inputs != original
    assert changed.any(dim=1).sum() > 50
    assert not changed.scatter(1, positions, False).any()


def test_a_scored_token_is_hidden_replaced_or_shown(long_text: Corpus) -> None:
    inputs, positions, labels = global_batch(source(long_text, "bert"), 0, 2500)
    shown = inputs.gather(1, positions)
    scored = shown.numel()
    hidden, kept = int((shown == MASK).sum()), int((shown == labels).sum())
    replaced = shown[(shown != MASK) & (shown != labels)]
    for count, expected in ((hidden, 0.8), (kept, 0.1), (len(replaced), 0.1)):
        assert abs(count - expected * scored) < 4 * (expected * (1 - expected) * scored) ** 0.5
    # Replacements are spread over the whole vocabulary, and follow no rule from the token they replace.
    tenths = torch.histc(replaced.float(), 10, 0, VOCAB_SIZE) / len(replaced)
    assert (abs(tenths - 0.1) < 4 * (0.09 / len(replaced)) ** 0.5).all()
    assert len(replaced.unique()) > 0.9 * len(replaced)


def test_whole_words_are_masked_whole(tmp_path: Path) -> None:
    """And as many positions as token by token, which the cost model counts on."""
    vocabulary = {f"##{i}" if i % 3 == 0 else str(i): i for i in range(4, 3000)}  # a word of one token, one of two, ...
    model = {"type": "WordPiece", "continuing_subword_prefix": "##", "vocab": vocabulary}
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps({"model": model}))
    numbers = prepared(tmp_path, numbered(2000), numbered(500))
    for whole_words in (False, True):
        batches = BatchSource(Text.of(numbers), source(numbers, "bert").shape, BLOCK, 42, whole_words)
        _, positions, labels = global_batch(batches, 0, 60)
        assert positions.shape == labels.shape == (60, round(0.15 * BLOCK))
        original = torch.from_numpy(batches.train.streams[0].read(np.arange(60) * BLOCK, BLOCK))
        scored = torch.zeros(original.shape, dtype=torch.bool).scatter(1, positions, True)
        of_one_word = (original[:, 2:] % 3 == 0) & (original[:, 1:-1] == original[:, 2:] - 1)
        cut = of_one_word & (scored[:, 2:] != scored[:, 1:-1])
        assert bool(cut.any()) != whole_words


def test_every_position_is_scored_as_often(long_text: Corpus) -> None:
    _, positions, _ = global_batch(source(long_text, "bert"), 0, 2500)
    counts = torch.bincount(positions.flatten(), minlength=BLOCK)[1:].double()
    expected = positions.numel() / (BLOCK - 1)
    assert ((counts - expected) ** 2 / expected).sum() < 59.7  # 30 degrees of freedom, 0.1%


def test_masks_follow_seed_and_position_alone(text: Corpus) -> None:
    batches = source(text, "bert")
    together = global_batch(batches, 0, 8)
    for row in range(8):
        alone = global_batch(source(text, "bert"), row * BLOCK, 1)
        assert same(alone, tuple(tensor[row : row + 1] for tensor in together))
    assert len({tuple(row) for row in together[1].tolist()}) > 1


def test_each_epoch_masks_other_positions(tmp_path: Path) -> None:
    one_document = [np.arange(10, 11 + BLOCK)]
    batches = source(prepared(tmp_path, one_document, one_document), "bert")
    masks = {tuple(global_batch(batches, epoch * BLOCK, 1)[1][0].tolist()) for epoch in range(6)}
    assert len(masks) == 6


def test_special_tokens_are_scored_only_when_none_else_is_left_and_then_not(tmp_path: Path) -> None:
    document = np.full(1 + BLOCK, SEP)
    document[[9, 20]] = 77, 78
    inputs, positions, labels = global_batch(source(prepared(tmp_path, [document], [document]), "bert"), 0, 1)
    scored = dict(zip(positions[0].tolist(), labels[0].tolist(), strict=True))
    assert len(scored) == round(0.15 * BLOCK)
    assert {position: label for position, label in scored.items() if label != IGNORED} == {9: 77, 20: 78}
    untouched = torch.ones(BLOCK, dtype=torch.bool)
    untouched[[0, 9, 20]] = False
    assert (inputs[0, untouched] == SEP).all()


def test_held_out_text_without_anything_to_predict_is_told(tmp_path: Path) -> None:
    documents = [np.full(1 + BLOCK, SEP)]
    with pytest.raises(UserError, match=r"its first 1 held-out samples of \d+ tokens hold only \[CLS\] and the ends"):
        source(prepared(tmp_path, documents, documents), "bert").check_scores(100)
    (tmp_path / "other").mkdir()
    documents[0][9] = 77
    source(prepared(tmp_path / "other", documents, documents), "bert").check_scores(100)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("samples", [1, 7, 8, 1000])
def test_held_out_samples_are_the_same_for_any_number_of_ranks(samples: int, family: str, text: Corpus) -> None:
    batches = source(text, family)
    alone = torch.cat([ids for ids, _, _ in batches.validation_batches(samples, 4, rank=0, world_size=1)])
    assert len(alone) == min(samples, (500 - 1) // BLOCK)
    for ranks in (2, 3, 4):
        parts = [list(batches.validation_batches(samples, 3, rank, ranks)) for rank in range(ranks)]
        assert len({tuple(len(ids) for ids, _, _ in part) for part in parts}) == 1
        ids, labels = (torch.cat([batch[i] for part in parts for batch in part]) for i in (0, 2))
        padding = (labels == IGNORED).all(dim=1)
        assert padding.sum() == -len(alone) % ranks
        assert torch.equal(ids[~padding], alone)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_held_out_samples_are_the_same_for_any_seed(family: str, text: Corpus) -> None:
    one, other = (list(source(text, family, seed).validation_batches(10, 4, 0, 1)) for seed in (1, 2))
    assert all(same(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("tokens", [1, BLOCK])
def test_a_split_of_less_than_a_sample_is_refused(tokens: int, split: str, tmp_path: Path) -> None:
    splits = {"train": numbered(100), "validation": numbered(100), split: [np.arange(10, 10 + tokens)]}
    corpus = prepared(tmp_path, splits["train"], splits["validation"])
    with pytest.raises(UserError, match=rf"the {tokens} tokens of the split {split} do not fill one sample of {BLOCK}"):
        source(corpus, "gpt2")


def test_one_block_and_one_token_are_enough(tmp_path: Path) -> None:
    corpus = prepared(tmp_path, [np.arange(10, 11 + BLOCK)], numbered(100))
    stream = TokenStream(corpus.folder, "train", BLOCK, seed=0)
    assert stream.read(np.array([5 * BLOCK]), BLOCK + 1).tolist() == [list(range(10, 11 + BLOCK))]


def test_a_token_that_the_tokenizer_lacks_is_told_and_not_trained_on(text: Corpus) -> None:
    batches = source(text, "gpt2")
    told = pytest.raises(UserError, match=r"train\.bin: damaged: holds a token that the tokenizer lacks: restore it")
    with patch.object(Corpus, "vocab_size", 1000), told:
        global_batch(batches, 0, 60)


def test_a_batch_of_one_stand_in_has_tokens(text: Corpus) -> None:
    *others, last = source(text, "gpt2").validation_batches(15, 1, rank=1, world_size=2)
    assert len(others) == 7 and (last[2] == IGNORED).all() and last[0].min() >= 0
