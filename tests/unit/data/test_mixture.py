"""Several texts in one run: the order of a mixture, its shares, and what a mixture of texts must have in common."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_text import VOCAB_SIZE, Document, prepared

from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.mixture import LONGEST_CYCLE, Mixture, blocks_in_a_cycle
from apollo_ds.data.text import Text, TextSource
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES

BLOCK = 16
SHARES = {"wiki": 0.7, "books": 0.3}


def documents(first: int, count: int) -> list[Document]:
    """Documents of 40 tokens, which tell which text they are of: those of the second are above 500."""
    return [first + (number * 7 + np.arange(40)) % 90 for number in range(count)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    root = tmp_path_factory.mktemp("texts")
    for name in SHARES:
        (root / name).mkdir()
    return {
        "wiki": prepared(root / "wiki", documents(10, 30), documents(10, 4)),
        "books": prepared(root / "books", documents(510, 20), documents(510, 4)),
    }


@pytest.fixture(scope="module")
def text(folders: dict[str, Corpus]) -> Text:
    return Text(tuple(TextSource(name, corpus, SHARES[name]) for name, corpus in folders.items()))


def source(text: Text, seed: int = 42, family: str = "gpt2") -> BatchSource:
    shape = FAMILIES[family].shape_class(
        family=family, num_layers=1, hidden_size=8, num_heads=1, intermediate_size=8, vocab_size=VOCAB_SIZE
    )
    return BatchSource(text, shape, BLOCK, seed)


def step(batches: BatchSource, number: int, ranks: int, samples: int = 12, seq_len: int = BLOCK) -> torch.Tensor:
    """The tokens of a step, of all ranks one after the other."""
    first = number * samples * seq_len
    parts = [batches.micro_batches(first, seq_len, samples, 3, rank, ranks) for rank in range(ranks)]
    return torch.cat([batch[0] for part in parts for batch in part])


@given(weights=st.lists(st.floats(1e-3, 1), min_size=1, max_size=6))
@settings(deadline=None)
def test_shares_in_a_cycle_are_within_a_sample_of_the_weights(weights: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    counts = blocks_in_a_cycle(shares.tolist())
    assert counts.min() >= 1
    assert np.abs(counts / counts.sum() - shares).max() < 2 / LONGEST_CYCLE


@pytest.mark.parametrize(
    ("weights", "counts"), [([1], [1]), ([0.5, 0.5], [1, 1]), ([0.7, 0.3], [7, 3]), ([1 / 3, 2 / 3], [1, 2])]
)
def test_a_cycle_is_as_short_as_the_shares_allow(weights: list[float], counts: list[int]) -> None:
    assert blocks_in_a_cycle(weights).tolist() == counts


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.123456789, 0.876543211), (0.9999, 0.0001)])
def test_shares_over_ten_thousand_samples_are_the_weights(
    shares: tuple[float, float], folders: dict[str, Corpus]
) -> None:
    streams = [TokenStream(corpus.folder, "train", BLOCK, 1) for corpus in folders.values()]
    mixture = Mixture(streams, shares, BLOCK, seed=1)
    for first in (0, 123):
        positions = (first + np.arange(10_000)) * BLOCK
        counts = {id(stream): int(here.sum()) for stream, here, _ in mixture.by_stream(positions)}
        found = [counts[id(stream)] / 10_000 for stream in streams]
        assert found == pytest.approx(shares, abs=0.0005)


def test_each_stream_is_read_in_its_own_order_without_a_gap(folders: dict[str, Corpus]) -> None:
    streams = [TokenStream(corpus.folder, "train", BLOCK, 1) for corpus in folders.values()]
    mixture = Mixture(streams, [0.7, 0.3], BLOCK, seed=1)
    positions = np.arange(1_000) * BLOCK
    for stream, here, inside in mixture.by_stream(positions):
        assert sorted(inside // BLOCK) == list(range(int(here.sum()))), stream.prefix


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_order_is_the_same_for_any_number_of_ranks(ranks: int, family: str, text: Text) -> None:
    one, other = source(text, family=family), source(text, family=family)
    for number in (0, 1, 57):
        assert torch.equal(step(one, number, 1), step(other, number, ranks))


def test_a_step_is_read_alike_whatever_was_read_before(text: Text) -> None:
    steps = [step(source(text), number, 1) for number in range(6)]
    batches = source(text)
    assert all(torch.equal(step(batches, number, 1), steps[number]) for number in (5, 0, 3, 3, 1))


def test_samples_come_from_both_texts_and_from_one_each(text: Text) -> None:
    tokens = torch.cat([step(source(text), number, 1) for number in range(20)])
    is_book = (tokens >= 500).float().mean(dim=1)
    assert set(is_book.tolist()) == {0.0, 1.0}
    assert is_book.mean().item() == pytest.approx(0.3)


def test_shorter_samples_hold_the_same_tokens_in_the_same_order(text: Text) -> None:
    long = step(source(text), 2, 1, samples=12)
    short = step(source(text), 2, 1, samples=48, seq_len=BLOCK // 4)
    assert torch.equal(long.reshape(-1), short.reshape(-1))


def test_the_order_follows_the_seed(text: Text) -> None:
    assert not torch.equal(step(source(text, 1), 0, 1), step(source(text, 2), 0, 1))


def test_one_folder_with_a_weight_is_that_folder(folders: dict[str, Corpus]) -> None:
    folder = folders["wiki"].folder
    alone, weighted = Text.open(folder), Text.open({folder: 3.0})
    assert (alone.train_hash, alone.held_out_hash) == (weighted.train_hash, weighted.held_out_hash)
    assert alone.train_hash == folders["wiki"].train_hash
    assert torch.equal(step(source(alone), 1, 1), step(source(weighted), 1, 1))


def test_neither_the_order_of_writing_nor_the_scale_of_weights_matters(folders: dict[str, Corpus]) -> None:
    wiki, books = (folders[name].folder for name in ("wiki", "books"))
    one, other = Text.open({wiki: 0.7, books: 0.3}), Text.open({books: 3.0, wiki: 7.0})
    assert one.train_hash == other.train_hash == Text.open({wiki: 2.1, books: 0.9}).train_hash
    assert torch.equal(step(source(one), 1, 1), step(source(other), 1, 1))
    assert one.train_hash != Text.open({wiki: 0.6, books: 0.4}).train_hash


def test_held_out_sets_are_those_of_the_sources_and_those_that_are_named(folders: dict[str, Corpus]) -> None:
    wiki, books = (folders[name].folder for name in ("wiki", "books"))
    batches = source(Text.open(wiki, {"law": books}))
    assert [(one.name, one.share) for one in batches.held_out] == [("wiki", 1.0), ("law", 0.0)]
    own, law = (next(batches.validation_batches(3, 3, 0, 1, number))[0] for number in (0, 1))
    assert own.max() < 500 <= law.max()


def test_a_text_named_twice_is_refused(folders: dict[str, Corpus], tmp_path: Path) -> None:
    folder = folders["wiki"].folder
    (tmp_path / "again").symlink_to(folder)
    with pytest.raises(UserError, match="hold the same text"):
        Text.open({folder: 1.0, tmp_path / "again": 1.0})


def test_a_share_of_less_than_a_sample_of_a_cycle_is_refused(folders: dict[str, Corpus]) -> None:
    wiki, books = (folders[name].folder for name in ("wiki", "books"))
    with pytest.raises(UserError, match=r"books has a share of 1e-06, less than one sample in 10,000"):
        Text.open({wiki: 999_999.0, books: 1.0})


def test_a_held_out_set_may_not_have_a_source_s_name(folders: dict[str, Corpus]) -> None:
    wiki, books = (folders[name].folder for name in ("wiki", "books"))
    with pytest.raises(UserError, match="held_out: wiki is the name of a text in data"):
        Text.open(wiki, {"wiki": books})


def test_a_text_of_the_current_folder_is_called_by_the_folder_s_name(
    folders: dict[str, Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki, books = (folders[name].folder for name in ("wiki", "books"))
    monkeypatch.chdir(wiki)
    assert {source.name for source in Text.open({Path(): 0.7, books: 0.3}).sources} == {"wiki", "books"}


def test_a_folder_without_text_is_told_of_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"data: \. holds no prepared text"):
        Text.open(Path())


def with_tokens(corpus: Corpus, tokens: int) -> Corpus:
    """A text whose manifest tells of so many tokens in each split."""
    splits = {name: split.model_copy(update={"tokens": tokens}) for name, split in corpus.manifest.splits.items()}
    return replace(corpus, manifest=corpus.manifest.model_copy(update={"splits": splits}))


def test_what_is_wrong_with_a_held_out_set_is_told_with_its_key(folders: dict[str, Corpus]) -> None:
    wiki = TextSource("wiki", with_tokens(folders["wiki"], 200), 1.0)
    text = Text((wiki,), (("law", with_tokens(folders["books"], 100)),))
    with pytest.raises(UserError, match=r"^held_out\.law: .*books: the 100 tokens of the split validation do not fill"):
        text.check_fits(source(text).shape, 150)
    elsewhere = Corpus(Path("nowhere"), folders["books"].manifest)
    with pytest.raises(UserError, match=r"^held_out\.law: nowhere"):
        Text((), (("law", elsewhere),)).verify()
