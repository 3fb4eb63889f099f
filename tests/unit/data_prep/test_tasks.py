"""A build by several tasks: which parts each has, what is waited for, and what a merge refuses."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from no_locks import without_locks
from rich.console import Console
from texts import write_jsonl

from data_prep import files, pool, sources, tasks
from data_prep.errors import Busy, DataError
from data_prep.manifest import Manifest
from data_prep.options import Options
from data_prep.sources import Part
from data_prep.span import Span
from data_prep.tasks import Task, encode_share, merge_shares, shares

Make = Callable[..., Manifest]
QUIET = Console(quiet=True)


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "verified.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def options(tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> Options:
    """A tokenizer to train, and text of some parts."""
    monkeypatch.setattr(sources, "PART_BYTES", 20_000)
    given = [str(write_jsonl(tmp_path / f"{name}.jsonl", texts[i::2])) for i, name in enumerate("ab")]
    return Options(sources=sources.parse(given), tokenizer="wordpiece", vocab_size=500, deduplicate="near")


def encode(options: Options, out: Path, *parts: str) -> None:
    for part in parts:
        encode_share(options, out, Task.parse(part), 1, QUIET)


def plan_of(sizes: list[int]) -> list[Part]:
    return [Part("s", (Span("txt", f"{i}.txt", 0, size, size, ""),)) for i, size in enumerate(sizes)]


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 12))
def test_every_part_has_one_task_and_tasks_have_about_as_many_bytes(sizes: list[int], count: int) -> None:
    plan = plan_of(sizes)
    dealt = shares(plan, count)
    assert len(dealt) == count
    assert sorted(part.key for share in dealt for part in share) == sorted(part.key for part in plan)
    loads = [sum(part.size for part in share) for share in dealt]
    assert max(loads) - min(loads) <= max(sizes, default=0)
    for share in dealt:
        assert [plan.index(part) for part in share] == sorted(plan.index(part) for part in share)


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "-1/3", "1/0", "1.0/3", "1/3/5", " 1/3", "1/1234567", "²/3"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not I/N with I from 1 to N, such as 3/16"):
        Task.parse(text)


@pytest.mark.parametrize("order", [("1/3", "2/3", "3/3"), ("1/1",), ("1/2", "3/3", "2/3", "1/3"), ("1/2", "1/2", "2/2")])
def test_tasks_and_a_merge_write_what_one_build_writes(
    make: Make, options: Options, tmp_path: Path, order: tuple[str, ...]
) -> None:
    given = [source.location for source in options.sources]
    make(
        tmp_path / "whole", *given, tokenizer="wordpiece", vocab_size=500, deduplicate="near", validation_fraction=0.01
    )
    encode(options, tmp_path / "out", *order)
    merge_shares(options, tmp_path / "out", QUIET)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    encode(options, tmp_path / "out", order[0])
    merge_shares(options, tmp_path / "out", QUIET)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_more_tasks_than_parts(options: Options, tmp_path: Path) -> None:
    encode(options, tmp_path / "out", *(f"{i}/50" for i in range(1, 51)))
    assert merge_shares(options, tmp_path / "out", QUIET).splits["train"].documents > 0
