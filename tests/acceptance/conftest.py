"""Fixtures of the preparation of text, and the record of what passed."""

from pathlib import Path

import pytest
from prep_fixtures import corpora, make, texts, tokenizers
from record import Record


def pytest_configure(config: pytest.Config) -> None:
    """Let the session leave its record here."""
    config.pluginmanager.register(Record(Path(__file__).with_name("record.md")))


__all__ = ["corpora", "make", "texts", "tokenizers"]
