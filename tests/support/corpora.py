"""Small made-up corpora, prepared by the real tool, shared by the whole test session."""

import json
import random
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from tempfile import mkdtemp

from rich.console import Console

from apollo_ds.data.corpus import Corpus
from apollo_ds.models.families import FAMILIES
from data_prep import sources
from data_prep.build import build
from data_prep.options import Options

VOCAB_SIZE = 300


def write_text(path: Path, documents: int = 150) -> None:
    """Sentences of a small grammar, so that there is something to learn; one document a line."""
    words = random.Random(0)
    nouns, verbs, ends = ("cat dog bird fish", "sees hears likes finds", "today often here again")
    lines = []
    for _ in range(documents):
        sentences = [
            f"the {words.choice(nouns.split())} {words.choice(verbs.split())} "
            f"the {words.choice(nouns.split())} {words.choice(ends.split())} ."
            for _ in range(words.randint(5, 30))
        ]
        lines.append(f'{{"text": "{" ".join(sentences)}"}}')
    path.write_text("\n".join(lines))


def write_real_text(path: Path) -> None:
    """English that comes with Python: the help pages on its language, one a line."""
    path.write_text("\n".join(json.dumps({"text": text}) for text in topics.values()))


@cache
def corpus(family: str, real: bool = False) -> Corpus:
    """Tokens for `gpt2` (byte-level BPE) or a masked family (WordPiece), of real or made-up text."""
    folder = Path(mkdtemp(prefix="apollo-ds-corpus-"))
    text = folder / "text.jsonl"
    (write_real_text if real else write_text)(text)
    kind = "wordpiece" if FAMILIES[family].is_masked else "bpe"
    options = Options(
        sources=sources.parse([str(text)]), tokenizer=kind, vocab_size=VOCAB_SIZE, validation_fraction=0.1
    )
    build(options, folder / family, workers=1, console=Console(quiet=True))
    return Corpus.open(folder / family)
