"""Prepare the default recipe's text when it is first needed: English that every machine has."""

import os
import time
from pathlib import Path

from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape
from data_prep import sources
from data_prep.build import build
from data_prep.errors import Busy, DataError
from data_prep.options import Options
from data_prep.output import Output

_TIMEOUT_SECONDS = 600
_DEFAULT, _DEFAULT_OF_MASKED = Path("data/docs"), Path("data/docs-wordpiece")


def default_text_folder(folder: Path, shape: ModelShape) -> Path:
    """The folder of the text for a model. It is the folder that the recipe names, with one exception.

    If that is the default folder and the model is masked, it is `data/docs-wordpiece`: such a model needs the text of
    another tokenizer.
    """
    return _DEFAULT_OF_MASKED if folder == _DEFAULT and family_of(shape).is_masked else folder


def prepare_default_text(folder: Path, shape: ModelShape) -> None:
    """Build a folder of English for a model if it does not exist. The tokenizer gets the size of its vocabulary.

    The first rank builds it. The other ranks wait, and other runs that need the same folder wait too.

    Raises:
        UserError: the text cannot be built.
    """
    manifest = folder / "manifest.json"
    started = time.monotonic()
    while not manifest.is_file():
        if os.environ.get("RANK", "0") == "0":
            try:
                _build(folder, shape)
                return
            except Busy:
                pass
            except DataError as error:
                raise UserError(f"data: {error}") from None
        if time.monotonic() - started > _TIMEOUT_SECONDS:
            raise UserError(f"data: {folder} was not ready after {_TIMEOUT_SECONDS} s; start again")
        time.sleep(0.2)


def _tokenizer(shape: ModelShape) -> str:
    return "wordpiece" if family_of(shape).is_masked else "bpe"


def _build(folder: Path, shape: ModelShape) -> None:
    options = Options(
        sources=sources.parse(["docs"]),
        tokenizer=_tokenizer(shape),
        vocab_size=shape.vocab_size,
        validation_fraction=0.03,
    )
    build(options, folder, workers=os.cpu_count() or 1, console=Output())
