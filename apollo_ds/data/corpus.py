"""A folder of prepared text, as its manifest describes it. To read a manifest imports no heavy package."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape
from data_prep.errors import DataError, Missing
from data_prep.manifest import NAME, Manifest, prepared_in, read_manifest
from data_prep.masking import word_continuations
from data_prep.verify import check_sizes, check_tokenizer, told_of_no_hash, verify, verify_once

_log = logging.getLogger(__name__)
_SPARE_ROWS = 512
"""A model must have fewer than this many rows of embeddings beyond its tokens. Published models round the number up."""


@dataclass(frozen=True)
class Corpus:
    """A folder that `apollo-prep build` or `adopt` made."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Read the manifest of a folder.

        Raises:
            UserError: the manifest is missing or damaged, or a later version wrote it in another format.
        """
        with _data_errors():
            try:
                return cls(folder, read_manifest(folder))
            except Missing:
                if inside := prepared_in(folder):
                    raise UserError(
                        f"data: {folder} holds no prepared text itself; name {' or '.join(inside)}"
                    ) from None
                source, out = (folder, "FOLDER") if any(folder.glob("*")) else ("TEXT", folder)
                raise UserError(
                    f"data: {folder} holds no prepared text; make it with "
                    f"`apollo-prep build --source {source} --tokenizer TOKENIZER --out {out}`, or name another folder"
                ) from None

    @property
    def tokenizer_folder(self) -> Path:
        """The folder of the text's tokenizer, as `transformers` saved it."""
        return self.folder / self.manifest.tokenizer.path

    @property
    def tokenizer_hash(self) -> str:
        """The tokenizer's hash."""
        return self.manifest.tokenizer.sha256

    @property
    def train_hash(self) -> str:
        """The hash of the tokens to train on."""
        return self.manifest.splits["train"].hash

    @property
    def held_out_hash(self) -> str:
        """The hash of the held-out tokens."""
        return self.manifest.splits["validation"].hash

    def sizes(self) -> dict[str, int]:
        """The size in bytes of each file of the shards that this machine can see."""
        places = self.manifest.places(self.folder)
        return {name: path.stat().st_size for name, path in places.items() if path.is_file()}

    @property
    def vocab_size(self) -> int:
        """The number of token ids."""
        return self.manifest.tokenizer.vocab_size

    @property
    def cls_token(self) -> int:
        """The id of [CLS].

        Raises:
            UserError: the tokenizer has none.
        """
        return self._needed(self.manifest.tokenizer.cls)

    @property
    def mask_token(self) -> int:
        """The id of [MASK].

        Raises:
            UserError: the tokenizer has none.
        """
        return self._needed(self.manifest.tokenizer.mask)

    @property
    def special_tokens(self) -> list[int]:
        """The ids of special tokens, which a masked model does not predict."""
        return self.manifest.tokenizer.special

    @property
    def unigram_entropy(self) -> float:
        """The entropy of the training tokens' frequencies, in nats: the loss of the best guess without context."""
        return self.manifest.unigram_entropy

    def word_continuations(self) -> list[int]:
        """The ids of tokens that continue a word. WordPiece writes them with `##`.

        Raises:
            UserError: the tokenizer is damaged, or is not WordPiece.
        """
        path = self.folder / self.manifest.tokenizer_json
        self.check_tokenizer()
        continuations = word_continuations(path)
        if continuations is None:
            raise UserError(f"{path}: masking: whole_word needs a WordPiece tokenizer; use masking=token")
        return continuations

    def check_tokenizer(self) -> None:
        """Compare the files of the tokenizer with their hashes. Call this before the tokenizer is loaded.

        Raises:
            UserError: a file is missing or damaged. The message names it.
        """
        with _data_errors():
            check_tokenizer(self.folder, self.manifest)

    def check_sizes(self) -> None:
        """Check that each file exists and has its recorded size. `verify` compares the content.

        Raises:
            UserError: a file is missing or has another size. The message names it.
        """
        with _data_errors():
            check_sizes(self.folder, self.manifest)

    def verify(self, full: bool = False) -> None:
        """Compare the files with their hashes. If the manifest has no hash of itself, print a line about it.

        Args:
            full: compare the tokens too. Otherwise they are compared only if the size or time of a shard has changed
                since the last check.
        Raises:
            UserError: a file is missing or damaged. The message names it.
        """
        with _data_errors():
            manifest = (verify if full else verify_once)(self.folder)
        if manifest != self.manifest:
            raise UserError(f"data: {self.folder}: is being built anew: start again when that has ended")
        if sentence := told_of_no_hash(self.folder, manifest):
            _log.warning("data: %s", sentence)

    def check_fits(self, shape: ModelShape, whole_words: bool = False) -> None:
        """Check that the tokenizer fits the model, and the masking of whole words if that is wanted.

        Raises:
            UserError: the tokenizer does not fit the model, or does not show where words start.
        """
        path = self.folder / NAME
        if not 0 <= shape.vocab_size - self.vocab_size < _SPARE_ROWS:
            raise UserError(
                f"{path}: the tokenizer has {self.vocab_size} tokens, model.vocab_size is {shape.vocab_size}; "
                f"set model.vocab_size={self.vocab_size} or prepare the text with the model's tokenizer"
            )
        if family_of(shape).is_masked:
            self._needed(self.manifest.tokenizer.cls)
            self._needed(self.manifest.tokenizer.mask)
        if whole_words:
            self.word_continuations()

    def check_fills(self, seq_len: int, splits: Sequence[str] = ("train", "validation")) -> None:
        """Check that each split has one sample of `seq_len` tokens, and one more token: a causal model's last target.

        Raises:
            UserError: a split has fewer tokens.
        """
        for name in splits:
            split = self.manifest.splits[name]
            if split.tokens <= seq_len:
                raise UserError(
                    f"data: {self.folder}: the {split.tokens} tokens of the split {name} do not fill one sample of "
                    f"{seq_len}; lower seq_len, or prepare more text"
                )

    def _needed(self, token: int | None) -> int:
        if token is None:
            raise UserError(
                f"{self.folder / NAME}: the tokenizer has no [CLS] or [MASK], which a masked model needs; "
                "use a WordPiece one"
            )
        return token


@contextmanager
def _data_errors() -> Iterator[None]:
    """Turn errors of the text into UserErrors that name the recipe's key `data`."""
    try:
        yield
    except DataError as error:
        raise UserError(f"data: {error}") from None
