"""The default recipe's text: English that every machine has, prepared when it is first needed."""

import os
import time

from rich.console import Console

from apollo_ds.errors import UserError
from apollo_ds.recipe import Recipe
from data_prep import sources
from data_prep.build import build
from data_prep.errors import Busy, DataError
from data_prep.options import Options

_TIMEOUT_SECONDS = 600


def prepare_default_text(recipe: Recipe) -> None:
    """Build `recipe.data` from the embedded corpus if it is not there.

    The first rank builds; the others wait, and so does a run beside which another one builds.

    Raises:
        UserError: the text cannot be built.
    """
    manifest = recipe.data / "manifest.json"
    started = time.monotonic()
    while not manifest.is_file():
        if os.environ.get("RANK", "0") == "0":
            try:
                _build(recipe)
                return
            except Busy:
                pass
            except DataError as error:
                raise UserError(f"data: {error}") from None
        if time.monotonic() - started > _TIMEOUT_SECONDS:
            raise UserError(f"data: {recipe.data} was not ready after {_TIMEOUT_SECONDS} s; start again")
        time.sleep(0.2)


def _build(recipe: Recipe) -> None:
    options = Options(
        sources=sources.parse(["docs"]),
        tokenizer="wordpiece" if recipe.model.is_masked else "bpe",
        vocab_size=recipe.model.vocab_size,
        validation_fraction=0.03,
    )
    build(options, recipe.data, workers=os.cpu_count() or 1, console=Console())
