"""A folder of prepared text, as its manifest describes it. Reading a manifest imports no heavy package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape
from data_prep.errors import DataError
from data_prep.files import sha256
from data_prep.masking import word_continuations
from data_prep.verify import read_manifest, verify_once


@dataclass(frozen=True)
class Corpus:
    """A folder that `apollo-prep build` made."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Read the manifest.

        Raises:
            UserError: there is none, it is damaged, or another version made it in another format.
        """
        if not (folder / "manifest.json").is_file():
            raise UserError(
                f"data: {folder} holds no prepared text; make it with "
                f"`apollo-prep build --source docs --tokenizer wordpiece --out {folder}`, or name another folder"
            )
        try:
            return cls(folder, read_manifest(folder))
        except DataError as error:
            raise UserError(f"data: {error}") from None

    @property
    def tokenizer_folder(self) -> Path:
        """A saved `transformers` tokenizer."""
        return self.folder / self.manifest["tokenizer"]["path"]

    @property
    def tokenizer_hash(self) -> str:
        """The tokenizer's hash."""
        return self.manifest["tokenizer"]["sha256"]

    @property
    def held_out_hash(self) -> str:
        """The hash of the held-out tokens."""
        return self.manifest["splits"]["validation"]["files"]["validation.bin"]["xxh3"]

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.manifest["tokenizer"]["vocab_size"]

    @property
    def cls_token(self) -> int:
        """Id of [CLS]."""
        return self.manifest["tokenizer"]["cls"]

    @property
    def mask_token(self) -> int:
        """Id of [MASK]."""
        return self.manifest["tokenizer"]["mask"]

    @property
    def special_tokens(self) -> list[int]:
        """Ids that are not text, which a masked model is not asked to predict."""
        return self.manifest["tokenizer"]["special"]

    @property
    def unigram_entropy(self) -> float:
        """Entropy of the training tokens' frequencies, in nats: the loss of the best guess without context."""
        return self.manifest["unigram_entropy"]

    def word_continuations(self) -> list[int]:
        """Ids of tokens that continue a word.

        Raises:
            UserError: the tokenizer is not a WordPiece one, whose `##` tells.
        """
        path = self.tokenizer_folder / "tokenizer.json"
        continuations = word_continuations(path)
        if continuations is None:
            raise UserError(f"{path}: masking: whole_word needs a WordPiece tokenizer; use masking=token")
        return continuations

    def verify(self) -> None:
        """Compare every file with its hash in the manifest; later, as long as no file changes, only sizes and times.

        Raises:
            UserError: a file is missing or damaged; names it.
        """
        try:
            verify_once(self.folder)
        except DataError as error:
            raise UserError(f"data: {error}") from None

    def verify_tokenizer(self) -> None:
        """Compare the tokenizer's files with their hashes in the manifest.

        Raises:
            UserError: one is missing or differs; names it.
        """
        path = self.tokenizer_folder / "tokenizer.json"
        if not path.is_file() or sha256(path) != self.tokenizer_hash:
            raise UserError(f"data: {path}: missing or not this text's tokenizer; restore it, or build the text again")

    def check_fits(self, shape: ModelShape, whole_words: bool = False) -> None:
        """Compare with the model that is to be trained, and with the masking of whole words if that is wanted.

        Raises:
            UserError: the tokenizer is not the model's, or does not tell where words start.
        """
        path = self.folder / "manifest.json"
        if self.vocab_size != shape.vocab_size:
            raise UserError(
                f"{path}: the tokenizer has {self.vocab_size} tokens, model.vocab_size is {shape.vocab_size}; "
                f"set model.vocab_size={self.vocab_size} or prepare the text with the model's tokenizer"
            )
        if family_of(shape).is_masked and None in (self.cls_token, self.mask_token):
            raise UserError(
                f"{path}: the tokenizer has no [CLS] or [MASK], which a masked model needs; use a WordPiece one"
            )
        if whole_words:
            self.word_continuations()
