"""Articles that are nearly alike are found in real text."""

from pathlib import Path

import numpy as np
import pyarrow.parquet

from data_prep import near


def jaccard(one: str, other: str) -> float:
    """The share of sequences of five words that two texts have in common, counted exactly."""
    sets = []
    for text in (one, other):
        words = text.lower().split()
        sets.append({tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def marks(folder: Path, texts: list[str], split: int, ignored: tuple[int, ...] = ()) -> list[bool]:
    """Which texts are near-duplicates, the first `split` being in one file and the others in a second."""
    files = {}
    for name, part in (("a.npy", texts[:split]), ("b.npy", texts[split:])):
        np.save(folder / name, np.stack([near.signature(text) for text in part]))
        files[folder / name] = len(part)
    return near.near_duplicates(files, np.array([i in ignored for i in range(len(texts))])).tolist()


def test_real_text(tmp_path: Path, corpora: Path) -> None:
    """Articles cut into pieces that overlap by nine tenths are found; those of different articles are not."""
    table = pyarrow.parquet.read_table(corpora / "wikipedia.parquet", columns=["text"])
    articles = [text.split()[:1000] for text in table["text"][:60].to_pylist()]
    texts = [" ".join(words) for words in articles] + [" ".join(words[50:]) for words in articles]
    found = marks(tmp_path, texts, split=60)
    truth = [any(jaccard(text, earlier) >= 0.8 for earlier in texts[:i]) for i, text in enumerate(texts)]
    assert np.mean(np.equal(found, truth)) > 0.97
