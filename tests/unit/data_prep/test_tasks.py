"""A build by several tasks: which parts each has, what is waited for, and what a merge refuses."""

import io
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from no_locks import without_locks
from rich.console import Console
from texts import write_jsonl

from data_prep import files, sources, tasks, work
from data_prep.build import build
from data_prep.clean import Cleaning
from data_prep.errors import Busy, DataError
from data_prep.options import Options
from data_prep.sources import Part
from data_prep.span import Span
from data_prep.tasks import Task, encode_share, merge_shares, shares

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


@pytest.mark.parametrize(
    "order", [("1/3", "2/3", "3/3"), ("1/1",), ("1/2", "3/3", "2/3", "1/3"), ("1/2", "1/2", "2/2")]
)
def test_tasks_and_a_merge_write_what_one_build_writes(
    options: Options, tmp_path: Path, order: tuple[str, ...]
) -> None:
    build(options, tmp_path / "whole", 1, QUIET)
    encode(options, tmp_path / "out", *order)
    merge_shares(options, tmp_path / "out", QUIET)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    encode(options, tmp_path / "out", order[0])
    merge_shares(options, tmp_path / "out", QUIET)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_more_tasks_than_parts(options: Options, tmp_path: Path) -> None:
    encode(options, tmp_path / "out", *(f"{i}/50" for i in range(1, 51)))
    assert merge_shares(options, tmp_path / "out", QUIET).splits["train"].documents > 0


@pytest.mark.parametrize(
    ("done", "named"),
    [((), "1/N and the others"), (("1/4", "3/4"), r"--part I/4 with each I of 2,4"), (("1/4",), r"I of 2-4, then")],
)
def test_a_merge_names_the_parts_that_are_to_be_run(
    options: Options, tmp_path: Path, done: tuple[str, ...], named: str
) -> None:
    out = tmp_path / "out"
    encode(options, out, *done)
    before = contents(out)
    with pytest.raises(DataError, match=named):
        merge_shares(options, out, QUIET)
    assert {**before, "work/lock": b""}.keys() >= contents(out).keys()


@pytest.mark.parametrize("damage", ["removed", "cut", "marker"])
def test_a_part_that_is_damaged_is_named_and_made_again(options: Options, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    encode(options, out, "1/2", "2/2")
    path = sorted((out / "work").glob("parts-*/*.json" if damage == "marker" else "parts-*/*.bin"))[0]
    path.unlink() if damage == "removed" else path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"out: 1 of \d+ pieces of work are not done.*--part I/2 with each I of [12],"):
        merge_shares(options, out, QUIET)
    encode(options, out, "1/2", "2/2")
    merge_shares(options, out, QUIET)


def test_parts_of_changed_sources_are_run_again(options: Options, tmp_path: Path, texts: list[str]) -> None:
    encode(options, tmp_path / "out", "1/2", "2/2")
    write_jsonl(tmp_path / "b.jsonl", texts[:50])
    with pytest.raises(DataError, match="no tokenizer of these sources yet: run --part 1/2 and the others"):
        merge_shares(options, tmp_path / "out", QUIET)
    encode(options, tmp_path / "out", "1/2", "2/2")
    merge_shares(options, tmp_path / "out", QUIET)


def test_other_options_are_refused_and_never_mixed(options: Options, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encode(options, out, "1/2")
    others = replace(options, normalize="NFKC")
    with pytest.raises(DataError, match="was begun with normalize none, not NFKC"):
        encode(others, out, "2/2")
    (out / "work" / "options.json").unlink()  # as where both began at the same moment
    encode(others, out, "1/2", "2/2")
    with pytest.raises(DataError, match="was begun with normalize NFKC, not none"):
        merge_shares(options, out, QUIET)
    assert merge_shares(others, out, QUIET).options["normalize"] == "NFKC"


def test_a_build_goes_on_with_what_parts_have_begun(options: Options, tmp_path: Path) -> None:
    build(options, tmp_path / "whole", 1, QUIET)
    encode(options, tmp_path / "out", "1/3")
    markers = [(path, path.stat().st_mtime_ns) for path in (tmp_path / "out" / "work").glob("parts-*/*.json")]
    assert markers
    with (console := Console(width=200)).capture() as said:
        build(options, tmp_path / "out", 1, console)
    assert f"continuing: {len(markers)} of" in said.get()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_tasks_wait_for_the_tokenizer_of_the_first(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_SECONDS_BETWEEN_LOOKS", 0.01)
    console = Console(width=200, record=True, quiet=False, file=io.StringIO())
    second = threading.Thread(target=encode_share, args=(options, tmp_path / "out", Task(2, 2), 1, console))
    second.start()
    while "waiting for the tokenizer, which --part 1/2 trains" not in console.export_text(clear=False):
        assert second.is_alive()
        time.sleep(0.01)
    assert not list((tmp_path / "out" / "work").glob("parts-*"))
    encode(options, tmp_path / "out", "1/2")
    second.join()
    merge_shares(options, tmp_path / "out", QUIET)


@pytest.mark.parametrize("kind", ["wordpiece", "given"])
def test_a_tokenizer_that_another_task_has_just_made_is_taken(
    options: Options, tokenizers: dict[str, Path], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both make it; the second finds the name taken."""
    if kind == "given":
        options = replace(options, tokenizer=str(tokenizers["bpe"]))
    take_place, taken = work._take_place, []

    def take_second(unfinished: Path, folder: Path) -> None:
        shutil.copytree(unfinished, folder)
        taken.append(contents(folder))
        take_place(unfinished, folder)

    monkeypatch.setattr(work, "_take_place", take_second)
    encode(options, tmp_path / "out", "1/1")
    (kept,) = (tmp_path / "out" / "work").glob("tokenizer-*")
    assert [contents(kept)] == taken


def test_the_same_task_twice_at_a_time(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One begins and ends while the other is within a part: no file is ever seen unfinished."""
    out, apply, once = tmp_path / "out", Cleaning.apply, [True]
    build(options, tmp_path / "whole", 1, QUIET)

    def interrupted(cleaning: Cleaning, *given: Any) -> Iterator[str]:
        for text in apply(cleaning, *given):
            if once and list((out / "work").glob("parts-*/*.tmp")):
                once.clear()
                encode(options, out, "1/1")
                with patch.object(files, "lock"):
                    merge_shares(options, out, QUIET)
            yield text

    monkeypatch.setattr(Cleaning, "apply", interrupted)
    with pytest.raises(DataError, match="run the same command again"):
        encode(options, out, "1/1")
    assert not once
    encode(options, out, "1/1")
    assert contents(out) == contents(tmp_path / "whole")


def test_tasks_share_the_folder_and_a_merge_does_not(options: Options, tmp_path: Path) -> None:
    encode(options, tmp_path / "out", "1/2")
    with files.locked(tmp_path / "out" / "work", shared=True):
        encode(options, tmp_path / "out", "2/2")
        with pytest.raises(Busy, match="another run works there"):
            merge_shares(options, tmp_path / "out", QUIET)
    with files.locked(tmp_path / "out" / "work"), pytest.raises(Busy, match="another run works there"):
        encode(options, tmp_path / "out", "2/2")


def test_tasks_need_no_locks(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_locks(monkeypatch)
    encode(options, tmp_path / "out", "1/2", "2/2")
    assert caplog.text == ""
    merge_shares(options, tmp_path / "out", QUIET)
    assert "its file system has no locks" in caplog.text
