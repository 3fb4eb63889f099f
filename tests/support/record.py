"""The record of the acceptance tests: which of them passed, when, on which commit and machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

_HEAD = """# Acceptance record

`make acceptance` writes this page. After a run of some of the tests, such as `pytest tests/acceptance/test_chaos.py`,
only their rows are new.

| test | outcome | seconds | commit | when (UTC) | machine |
|---|---|---|---|---|---|
"""
_FOLDER = "tests/acceptance/"

Row = tuple[str, ...]
"""What the table says of a test, after its name."""


class Record:
    """Notes each test's end, and brings the page up to date when the session's tests have run."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self._outcomes: dict[str, tuple[str, float]] = {}
        self._known: set[str] = set()
        self._commit = _commit()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember which tests there are, in the files that were looked at."""
        self._known = {item.nodeid for item in session.items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's call, or a phase around it that did not pass."""
        before = self._outcomes.get(report.nodeid, ("passed", 0.0))
        if _FOLDER in report.nodeid and (report.when == "call" or not report.passed):
            self._outcomes[report.nodeid] = (report.outcome, before[1] + report.duration)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page: the rows of what has run, and as they were those of what has not."""
        if not self._outcomes:
            return
        about = (self._commit, f"{datetime.now(UTC):%Y-%m-%d %H:%M}", f"{platform.machine()}, {os.cpu_count()} cores")
        rows = self._rows_of_others(session)
        for name, (outcome, seconds) in self._outcomes.items():
            rows[name.split(_FOLDER)[1]] = (outcome, f"{seconds:.0f}", *about)
        lines = [f"| `{name}` | {' | '.join(row)} |" for name, row in sorted(rows.items())]
        self.page.write_text(_HEAD + "\n".join(lines) + "\n")

    def _rows_of_others(self, session: pytest.Session) -> dict[str, Row]:
        """The page's rows, without those of tests that their files have no more."""
        if not self.page.is_file():
            return {}
        lines = [line for line in self.page.read_text().splitlines() if line.startswith("| `")]
        table = [line.strip("| ").split(" | ") for line in lines]
        rows = {name.strip("`"): tuple(cells) for name, *cells in table}
        if session.config.option.keyword or any("::" in word for word in session.config.args):
            return rows
        run = {name.split(_FOLDER)[1].split("::")[0] for name in self._known if _FOLDER in name}
        return {
            name: row for name, row in rows.items() if name.split("::")[0] not in run or _FOLDER + name in self._known
        }


def _commit() -> str:
    """The commit that is tested, marked if the tree differs from it."""
    described = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(
        described, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    ).stdout.strip()
