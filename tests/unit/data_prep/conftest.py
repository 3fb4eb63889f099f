"""Fixtures of the preparation of text."""

from adopt_fixtures import documents, run, shards
from prep_fixtures import corpora, make, texts, tokenizers

__all__ = ["corpora", "documents", "make", "run", "shards", "texts", "tokenizers"]
