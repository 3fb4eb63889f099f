"""Near-duplicates are found, others are not, and the answer is that of comparing sequences of words."""

import random
from pathlib import Path

import numpy as np
import pytest
from texts import make_texts

from data_prep import near


def jaccard(one: str, other: str) -> float:
    """The share of sequences of five words that two texts have in common, counted exactly."""
    sets = []
    for text in (one, other):
        words = text.lower().split()
        sets.append({tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def with_changes(text: str, count: int, rng: random.Random) -> str:
    words = text.split()
    for place in rng.sample(range(len(words)), count):
        words[place] = "changed"
    return " ".join(words)


def marks(folder: Path, texts: list[str], split: int, ignored: tuple[int, ...] = ()) -> list[bool]:
    """Which texts are near-duplicates, the first `split` being in one file and the others in a second."""
    files = {}
    for name, part in (("a.npy", texts[:split]), ("b.npy", texts[split:])):
        np.save(folder / name, np.stack([near.signature(text) for text in part]))
        files[folder / name] = len(part)
    return near.near_duplicates(files, np.array([i in ignored for i in range(len(texts))])).tolist()


def test_the_estimate_is_close(texts: list[str]) -> None:
    rng = random.Random(1)
    errors = []
    for text in texts[:40]:
        other = with_changes(text, rng.randint(0, 12), rng)
        estimate = (near.signature(text) == near.signature(other)).mean()
        errors.append(estimate - jaccard(text, other))
    assert np.abs(errors).max() < 0.15
    assert np.abs(np.mean(errors)) < 0.02


def test_similar_texts_are_marked_and_the_first_is_kept(tmp_path: Path) -> None:
    rng = random.Random(2)
    originals = make_texts(60, seed=5)
    close = [with_changes(text, 1, rng) for text in originals[:30]]
    far = [with_changes(text, 40, rng) for text in originals[30:]]
    assert min(map(jaccard, originals, close)) > 0.85
    assert max(map(jaccard, originals[30:], far)) < 0.5
    found = marks(tmp_path, [*originals, *close, *far], split=75)
    assert found == [False] * 60 + [True] * 30 + [False] * 30


def test_what_is_dropped_already_hides_nothing(tmp_path: Path) -> None:
    text = make_texts(1)[0]
    assert marks(tmp_path, [text, text + " more"], split=1) == [False, True]
    assert marks(tmp_path, [text, text + " more"], split=1, ignored=(0,)) == [False, False]


def test_short_texts_are_alike_only_when_equal(tmp_path: Path) -> None:
    assert marks(tmp_path, ["one two", "one three", "ONE  two"], split=1) == [False, False, True]


def test_long_texts_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(make_texts(20))
    whole = near.signature(text)
    monkeypatch.setattr(near, "WORDS_AT_ONCE", 7)
    assert (near.signature(text) == whole).all()
