"""The text of a run: one prepared text, or several with shares, and further held-out sets that are only measured."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any, TypeAlias

from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError
from apollo_ds.models.shape import ModelShape
from data_prep import files

Data: TypeAlias = Path | dict[Path, float]
"""A folder of prepared text, or folders and their weights."""
SMALLEST_SHARE = 1e-4
"""One sample in 10,000, the longest cycle of a `Mixture`."""
_DIGITS = 12
"""Shares are rounded to this many digits, so that weights of any scale give the same shares."""


@dataclass(frozen=True)
class TextSource:
    """One of the texts of a mixture, and its share of the training tokens. All shares sum to 1."""

    name: str
    """The last part of the folder's absolute path. If two folders agree in it, the path as it is written."""
    corpus: Corpus
    share: float


@dataclass(frozen=True)
class Text:
    """The sources of a run, in an order that does not depend on the recipe's, and further held-out sets to measure."""

    sources: tuple[TextSource, ...]
    measured: tuple[tuple[str, Corpus], ...] = ()
    """Further held-out sets, with their names."""

    @classmethod
    def open(cls, data: Data, held_out: Mapping[str, Path] | None = None) -> "Text":
        """Read the manifests.

        Raises:
            UserError: a folder holds no prepared text, two hold the same, a share is too small, or the folders do not
                have one tokenizer.
        """
        weights = data if isinstance(data, dict) else {data: 1.0}
        names = _names(list(weights))
        total = fsum(weights.values())
        shares = {folder: round(weight / total, _DIGITS) for folder, weight in weights.items()}
        sources = [TextSource(names[folder], Corpus.open(folder), share) for folder, share in shares.items()]
        text = cls(
            tuple(sorted(sources, key=lambda source: source.corpus.train_hash)),
            tuple((name, _opened(name, folder)) for name, folder in (held_out or {}).items()),
        )
        text._check_shares()
        text._check_names()
        text._check_tokenizers()
        return text

    @classmethod
    def of(cls, corpus: Corpus) -> "Text":
        """A text with a single source."""
        return cls((TextSource(corpus.folder.name, corpus, 1.0),))

    @property
    def vocabulary(self) -> Corpus:
        """Any one of the sources. All have the same tokenizer, which can be asked for here."""
        return self.sources[0].corpus

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """All folders that are read: those of the sources and of the held-out sets."""
        return (*(source.corpus for source in self.sources), *(corpus for _, corpus in self.measured))

    @property
    def train_hash(self) -> str:
        """A hash of the training tokens of the sources and of their shares."""
        return self._hash(lambda corpus: corpus.train_hash)

    @property
    def held_out_hash(self) -> str:
        """A hash of the held-out tokens of the sources and of their shares."""
        return self._hash(lambda corpus: corpus.held_out_hash)

    @property
    def unigram_entropy(self) -> float:
        """The mean of the sources' unigram entropies, weighted by their shares, in nats per token.

        It is the loss of the best guess without context, if the source of each token is known.
        """
        return fsum(source.share * source.corpus.unigram_entropy for source in self.sources)

    @property
    def bytes_per_token(self) -> float | None:
        """The bytes of text per training token: the mean, weighted by shares. None if a manifest does not have them."""
        splits = [(source.share, source.corpus.manifest.splits["train"]) for source in self.sources]
        if any(split.bytes is None for _, split in splits):
            return None
        return fsum(share * (split.bytes or 0) / split.tokens for share, split in splits)

    @property
    def identity(self) -> list[tuple[Any, ...]]:
        """The facts that must be the same for every rank."""
        return [(corpus.tokenizer_hash, corpus.manifest.shards, corpus.sizes()) for corpus in self.corpora]

    def verify(self, full: bool = False) -> None:
        """Compare the files of all folders with their hashes, as `Corpus.verify` does."""
        for source in self.sources:
            source.corpus.verify(full)
        for name, corpus in self.measured:
            with _errors_of(name):
                corpus.verify(full)

    def check_fits(self, shape: ModelShape, seq_len: int, whole_words: bool = False) -> None:
        """Check that files have their sizes, that the tokenizer fits the model, and that each split has a sample.

        Raises:
            UserError: one of these does not hold.
        """
        for source in self.sources:
            source.corpus.check_sizes()
            source.corpus.check_fits(shape, whole_words)
            source.corpus.check_fills(seq_len)
        for name, corpus in self.measured:
            with _errors_of(name):
                corpus.check_sizes()
                corpus.check_fills(seq_len, splits=("validation",))

    def _hash(self, of: Callable[[Corpus], str]) -> str:
        if len(self.sources) == 1:
            return of(self.vocabulary)
        return files.key([[of(source.corpus), source.share] for source in self.sources])

    def _check_shares(self) -> None:
        known: dict[str, TextSource] = {}
        for source in self.sources:
            folder, other = source.corpus.folder, known.setdefault(source.corpus.train_hash, source)
            if other is not source:
                raise UserError(
                    f"data: {other.corpus.folder} and {folder} hold the same text; name one of them, with the weight "
                    "of both"
                )
            if source.share < SMALLEST_SHARE:
                raise UserError(
                    f"data: {folder} has a share of {source.share:.2g}, less than one sample in "
                    f"{1 / SMALLEST_SHARE:,.0f}; give it a greater weight, or leave it out"
                )

    def _check_names(self) -> None:
        own = {source.name for source in self.sources}
        for name, _ in self.measured:
            if name in own:
                raise UserError(
                    f"held_out: {name} is the name of a text in data, which is measured too; choose another"
                )

    def _check_tokenizers(self) -> None:
        first = self.vocabulary
        sources = [("data", source.corpus) for source in self.sources]
        for key, corpus in (*sources, *((f"held_out.{name}", corpus) for name, corpus in self.measured)):
            if corpus.tokenizer_hash != first.tokenizer_hash:
                raise UserError(
                    f"{key}: {corpus.folder} and {first.folder} have different tokenizers; prepare one again with the "
                    f"other's: `apollo-prep build --tokenizer {first.tokenizer_folder}`"
                )


def folders_of(data: Data) -> list[Path]:
    """The folders that a recipe's `data` names."""
    return list(data) if isinstance(data, dict) else [data]


def in_words(data: Data) -> str:
    """The folders, for a sentence."""
    return ", ".join(map(str, folders_of(data)))


def _names(folders: list[Path]) -> dict[Path, str]:
    """A short name for each folder."""
    ends = [Path(os.path.abspath(folder)).name for folder in folders]
    return {folder: end if ends.count(end) == 1 else str(folder) for folder, end in zip(folders, ends, strict=True)}


def _opened(name: str, folder: Path) -> Corpus:
    with _errors_of(name):
        return Corpus.open(folder)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turn errors of a held-out set into errors that name its key, `held_out.NAME`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"held_out.{name}: {str(error).removeprefix('data: ')}") from None
