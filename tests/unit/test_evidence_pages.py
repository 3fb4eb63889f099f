"""The pages of evidence say what the records give."""

import re
import shutil
from pathlib import Path
from types import ModuleType

import downstream
import headline
import page
import pytest
import saving
from histories import rows
from project import PROJECT
from questions import DOWNSTREAM, QUESTIONS, SAVING, write_index

EVIDENCE = PROJECT / "benchmarks" / "evidence"


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes longer than all else, and nothing here looks at them."""
    for module in (page, downstream, saving):
        monkeypatch.setattr(module, "save_picture", lambda *arguments: None)


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize(
    ("question", "of"), [*((name, page) for name in QUESTIONS), (DOWNSTREAM, downstream), (SAVING, saving)]
)
def test_a_page_is_what_its_records_make(question: str, of: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "evidence" / question
    shutil.copytree(EVIDENCE / question, copy, ignore=shutil.ignore_patterns("*.png", "README.md"))
    of.write(copy)
    assert (copy / "README.md").read_text() == (EVIDENCE / question / "README.md").read_text()


def test_the_index_is_what_the_conclusions_make(tmp_path: Path) -> None:
    shutil.copytree(EVIDENCE, tmp_path / "evidence", ignore=shutil.ignore_patterns("*.png", "README.md"))
    write_index(tmp_path / "evidence")
    assert (tmp_path / "evidence" / "README.md").read_text() == (EVIDENCE / "README.md").read_text()


def test_what_the_results_say_is_saved_is_the_page_s() -> None:
    found = rows((EVIDENCE / SAVING / "README.md").read_text(), "operations saved")
    told = {(row["distance in loss"], row["operations saved"], str(len(row["seeds"].split(", ")))) for row in found}
    shown = rows((PROJECT / "docs" / "results" / "savings.md").read_text(), "operations saved")
    assert shown
    assert {(row["distance in loss"], row["operations saved"], row["seeds"]) for row in shown} <= told


def test_the_headline_s_picture_and_words_are_the_page_s() -> None:
    found = rows((EVIDENCE / SAVING / "README.md").read_text(), "operations saved")
    told = {row["recipe"]: row["operations saved"] for row in found}
    assert set(headline.ROWS) <= set(told)
    first = told[next(iter(headline.ROWS))]
    (axes,) = headline.draw().axes
    assert next(text.get_text().splitlines()[1] for text in axes.texts) == f"{first} fewer"
    assert f"saved {first} of the operations" in (PROJECT / "README.md").read_text()


def test_what_a_page_links_to_is_there() -> None:
    for text in EVIDENCE.rglob("README.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", text.read_text()):
            assert (text.parent / link).exists(), f"{text}: {link}"
