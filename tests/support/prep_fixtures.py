"""Small texts, a small tokenizer of each kind, builds, and the corpora for development where they are: fixtures."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from texts import make_texts

from data_prep import tokenizer
from data_prep.build import build
from data_prep.manifest import Manifest
from data_prep.options import Options
from data_prep.sources import parse


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return make_texts(200)


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> dict[str, Path]:
    """A trained tokenizer of each kind, by kind."""
    folder = tmp_path_factory.mktemp("tokenizers")
    for kind in ("wordpiece", "bpe"):
        tokenizer.train(kind, lambda: iter(texts), 1000, folder / kind)
    return {kind: folder / kind for kind in ("wordpiece", "bpe")}


@pytest.fixture
def make(tokenizers: dict[str, Path]) -> Callable[..., Manifest]:
    """Builds shards with the given options, quietly, and returns the manifest."""

    def run(out: Path, *sources: str | Path, workers: int = 1, **options: Any) -> Manifest:
        defaults = {
            "weights": {},
            "tokenizer": str(tokenizers["wordpiece"]),
            "vocab_size": 1000,
            "text_column": "text",
            "validation_fraction": 0.1,
            "normalize": None,
            "min_characters": 1,
            "deduplicate": None,
        }
        chosen = Options(sources=parse([str(source) for source in sources]), **(defaults | options))
        return build(chosen, out, workers, Console(quiet=True))

    return run


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real text, outside the repository."""
    folder = Path(os.environ.get("APOLLO_DS_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))
    if not (folder / "wikipedia.parquet").exists():
        pytest.skip(f"no real text in {folder}: set APOLLO_DS_CORPORA to where it is")
    return folder
