"""The pages of evidence say what the runs that are kept say."""

import shutil
from pathlib import Path

import downstream
import pytest
from matplotlib.figure import Figure
from page import DOWNSTREAM, QUESTIONS, write
from project import PROJECT

EVIDENCE = PROJECT / "benchmarks" / "evidence"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes longer than all else, and nothing here looks at them."""
    monkeypatch.setattr(Figure, "savefig", lambda *arguments, **options: None)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_pages_are_what_their_results_make(question: str, tmp_path: Path) -> None:
    shutil.copytree(EVIDENCE / question, tmp_path / question, ignore=shutil.ignore_patterns("*.png", "README.md"))
    write(tmp_path / question)
    assert (tmp_path / question / "README.md").read_text() == (EVIDENCE / question / "README.md").read_text()


def test_the_page_of_fine_tuning_is_what_its_results_make(tmp_path: Path) -> None:
    shutil.copytree(EVIDENCE / DOWNSTREAM, tmp_path, ignore=shutil.ignore_patterns("README.md"), dirs_exist_ok=True)
    downstream.write(tmp_path, [downstream.Plan.read(path) for path in sorted((EVIDENCE / DOWNSTREAM).glob("*.yaml"))])
    assert (tmp_path / "README.md").read_text() == (EVIDENCE / DOWNSTREAM / "README.md").read_text()
