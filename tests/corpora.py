"""Small made-up corpora, prepared by the real tool, shared by the whole test session."""

import random
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console

from apollo_ds.corpus import Corpus
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


@cache
def corpus(family: str) -> Corpus:
    """Tokens for `bert` (WordPiece) or `gpt2` (byte-level BPE)."""
    folder = Path(mkdtemp(prefix="apollo-ds-corpus-"))
    text = folder / "text.jsonl"
    write_text(text)
    kind = {"bert": "wordpiece", "gpt2": "bpe"}[family]
    options = Options(
        sources=sources.parse([str(text)]), tokenizer=kind, vocab_size=VOCAB_SIZE, validation_fraction=0.1
    )
    build(options, folder / family, workers=1, console=Console(quiet=True))
    return Corpus.open(folder / family)
