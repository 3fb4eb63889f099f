"""What a run reads: one prepared text, or several in shares, and more held-out sets that are only measured."""

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
"""A sample in 10,000: see `Mixture`."""
_DIGITS = 12
"""Of a share, so that it is the same whatever the scale of the weights."""


@dataclass(frozen=True)
class TextSource:
    """One of the texts of a mixture, and the share of its tokens in what is trained on; shares sum to 1."""

    name: str
    """The last part of its folder's absolute path; the path as it is written where two folders agree in that."""
    corpus: Corpus
    share: float


@dataclass(frozen=True)
class Text:
    """The sources of a run, in an order that does not depend on how they are written, and sets that are measured."""

    sources: tuple[TextSource, ...]
    measured: tuple[tuple[str, Corpus], ...] = ()
    """Held-out sets beside those of the sources, by name."""

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
        """A single text."""
        return cls((TextSource(corpus.folder.name, corpus, 1.0),))

    @property
    def vocabulary(self) -> Corpus:
        """A source to ask for what all of them have in common: the tokenizer."""
        return self.sources[0].corpus

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """Everything that is read."""
        return (*(source.corpus for source in self.sources), *(corpus for _, corpus in self.measured))

    @property
    def train_hash(self) -> str:
        """The hash of the tokens to train on, and of their shares."""
        return self._hash(lambda corpus: corpus.train_hash)

    @property
    def held_out_hash(self) -> str:
        """The hash of the held-out tokens of the sources, and of their shares."""
        return self._hash(lambda corpus: corpus.held_out_hash)

    @property
    def unigram_entropy(self) -> float:
        """Mean of the sources' unigram entropies by their shares, in nats a token.

        It is the loss of the best guess without context, by one who knows the source.
        """
        return fsum(source.share * source.corpus.unigram_entropy for source in self.sources)

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of text of a training token, in the mean by shares; None where a manifest does not tell."""
        splits = [(source.share, source.corpus.manifest.splits["train"]) for source in self.sources]
        if any(split.bytes is None for _, split in splits):
            return None
        return fsum(share * (split.bytes or 0) / split.tokens for share, split in splits)

    @property
    def identity(self) -> list[tuple[Any, ...]]:
        """What every rank must see alike."""
        return [(corpus.tokenizer_hash, corpus.manifest.shards, corpus.sizes()) for corpus in self.corpora]

    def verify(self, full: bool = False) -> None:
        """Compare the files of every text with their hashes, as `Corpus.verify` does."""
        for source in self.sources:
            source.corpus.verify(full)
        for name, corpus in self.measured:
            with _errors_of(name):
                corpus.verify(full)

    def check_fits(self, shape: ModelShape, seq_len: int, whole_words: bool = False) -> None:
        """Check the files' sizes, that the tokenizer is the model's, and that each split that is read has a sample.

        Raises:
            UserError: it is not so.
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
    """The folders as a sentence names them."""
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
    """An error of text that is only measured is one of its own key."""
    try:
        yield
    except UserError as error:
        raise UserError(f"held_out.{name}: {str(error).removeprefix('data: ')}") from None
