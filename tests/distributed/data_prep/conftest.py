"""Fixtures of the preparation of text."""

from prep_fixtures import corpora, make, texts, tokenizers

__all__ = ["corpora", "make", "texts", "tokenizers"]
