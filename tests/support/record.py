"""The record of the acceptance tests: which of them passed, on which commit and machine, and how long they took."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

_SECONDS_A_MINUTE = 60


class Record:
    """Notes each test's end, and writes a page when all of the session's tests have run."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self._outcomes: dict[str, tuple[str, float]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's call, or a phase around it that did not pass."""
        before = self._outcomes.get(report.nodeid, ("passed", 0.0))
        if "tests/acceptance/" in report.nodeid and (report.when == "call" or not report.passed):
            self._outcomes[report.nodeid] = (report.outcome, before[1] + report.duration)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page, unless only some of the tests were asked for."""
        whole = not session.config.option.keyword and all("::" not in word for word in session.config.args)
        if whole and self._outcomes:
            self.page.write_text("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        total = sum(seconds for _, seconds in self._outcomes.values())
        rows = [f"| `{name}` | {what} | {seconds:.0f} |" for name, (what, seconds) in sorted(self._outcomes.items())]
        return [
            "# Acceptance record",
            "",
            "`make acceptance` writes this page.",
            "",
            f"- commit: {_commit()}",
            f"- when: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {total / _SECONDS_A_MINUTE:.0f} minutes",
            f"- machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "",
            "| test | outcome | seconds |",
            "|---|---|---|",
            *rows,
            "",
        ]


def _commit() -> str:
    """The commit that was tested, marked if the tree differs from it."""
    described = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(
        described, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    ).stdout.strip()
