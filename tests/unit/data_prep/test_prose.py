"""The embedded corpus is English prose, without code, and the same each time."""

from pathlib import Path

import pytest

from data_prep import prose

SOURCE = '''
"""Sort things in place, or return a new list.

The sort is stable: if *multiple* records have the same key, then their order in :class:`the list <list>` is kept.

    >>> sort([3, 1, 2])
    [1, 2, 3]

Parameters
----------
key : callable
    A function of one argument that is used to extract a comparison key from each element of the list in turn.
"""
def f():
    r"""
    This paragraph occurs once in the corpus, whatever the number of functions that it is written in.
    """
def g():
    """
    This paragraph occurs once in the corpus, whatever the number of functions that it is written in.
    """
'''


def test_what_is_taken_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.py").write_text(SOURCE)
    monkeypatch.setattr(prose, "_modules", lambda: [tmp_path / "module.py"])
    assert list(prose.documents())[-1].split("\n\n") == [
        "The sort is stable: if multiple records have the same key, then their order in the list is kept.",
        "A function of one argument that is used to extract a comparison key from each element of the list in turn.",
        "This paragraph occurs once in the corpus, whatever the number of functions that it is written in.",
    ]


def test_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a part of the modules: English words, no paragraph twice, no code, and the same when made again."""
    modules = [path for path in prose._modules() if path.parent.name in ("asyncio", "json", "logging", "email")]
    monkeypatch.setattr(prose, "_modules", lambda: modules)
    documents = list(prose.documents())
    assert documents == list(prose.documents())
    assert sum(map(len, documents)) > 150_000
    paragraphs = [paragraph for document in documents for paragraph in document.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    assert not [p for p in paragraphs if ">>>" in p or "\n" in p or not p[0].isupper() or p[-1] not in ".!?"]
    words = " ".join(paragraphs).lower().split()
    assert words.count("the") / len(words) > 0.04


def test_no_module_is_read_twice() -> None:
    modules = prose._modules()
    assert len(modules) == len(set(modules))
