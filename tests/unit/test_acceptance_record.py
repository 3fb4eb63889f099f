"""The page on which acceptance tests leave their results."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from record import Record

OLD = """# Acceptance record

| test | outcome | seconds | commit | when (UTC) | machine |
|---|---|---|---|---|---|
| `test_chaos.py::test_killed` | passed | 60 | aaa | 2026-01-01 10:00 | x86_64, 2 cores |
| `test_grids.py::test_gone` | passed | 5 | aaa | 2026-01-01 10:00 | x86_64, 2 cores |
| `test_grids.py::test_stays[3-bf16]` | failed | 6 | aaa | 2026-01-01 10:00 | x86_64, 2 cores |
"""


def report(name: str, when: str = "call", outcome: str = "passed") -> Any:
    return SimpleNamespace(
        nodeid=f"tests/acceptance/{name}", when=when, outcome=outcome, passed=outcome == "passed", duration=7.0
    )


@pytest.fixture(autouse=True)
def _commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("record._commit", lambda: "bbb")


def page_after(folder: Path, reports: list[Any], *arguments: str) -> dict[str, list[str]]:
    """The rows of the old page after a session."""
    page = folder / "record.md"
    page.write_text(OLD)
    record = Record(page)
    items = [SimpleNamespace(nodeid=report.nodeid) for report in reports]
    session: Any = SimpleNamespace(
        items=items, config=SimpleNamespace(option=SimpleNamespace(keyword=""), args=list(arguments))
    )
    record.pytest_collection_finish(session)
    for each in reports:
        record.pytest_runtest_logreport(each)
    record.pytest_sessionfinish(session)
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| `")]
    return {name.strip("| `"): cells for name, *cells in rows}


def test_a_file_that_was_run_has_new_rows_and_others_keep_theirs(tmp_path: Path) -> None:
    rows = page_after(tmp_path, [report("test_grids.py::test_stays[3-bf16]")], "tests/acceptance/test_grids.py")
    assert list(rows) == ["test_chaos.py::test_killed", "test_grids.py::test_stays[3-bf16]"]
    assert rows["test_chaos.py::test_killed"][2] == "aaa"
    assert rows["test_grids.py::test_stays[3-bf16]"][:2] == ["passed", "7"]
    assert rows["test_grids.py::test_stays[3-bf16]"][2] == "bbb"


def test_a_single_test_changes_its_row_alone(tmp_path: Path) -> None:
    name = "test_grids.py::test_stays[3-bf16]"
    rows = page_after(tmp_path, [report(name)], f"tests/acceptance/{name}")
    assert len(rows) == 3
    assert [row[2] for row in rows.values()] == ["aaa", "aaa", "bbb"]


@pytest.mark.parametrize(("when", "outcome"), [("call", "failed"), ("setup", "failed"), ("setup", "skipped")])
def test_what_did_not_pass_is_said(when: str, outcome: str, tmp_path: Path) -> None:
    reports = [report("test_chaos.py::test_killed", when, outcome)]
    rows = page_after(tmp_path, reports, "tests/acceptance/test_chaos.py")
    assert rows["test_chaos.py::test_killed"][0] == outcome


def test_nothing_that_ran_leaves_the_page_alone(tmp_path: Path) -> None:
    assert len(page_after(tmp_path, [], "tests/acceptance")) == 3
    assert (tmp_path / "record.md").read_text() == OLD
