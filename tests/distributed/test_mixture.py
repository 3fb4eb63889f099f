"""A run on two texts in shares: the same on any number of ranks and after a stop, with a loss for each text."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from corpora import corpus, write_real_text
from ranks import pool
from recipes import tiny
from rich.console import Console
from runs import events, losses, train

from apollo_ds.config.recipe import Recipe
from data_prep import sources
from data_prep.build import build
from data_prep.options import Options


@cache
def other_text() -> Path:
    """English with the tokenizer of the made-up text."""
    folder = Path(mkdtemp(prefix="apollo-ds-mixture-"))
    write_real_text(folder / "text.jsonl")
    options = Options(
        sources.parse([str(folder / "text.jsonl")]), str(corpus("gpt2").tokenizer_folder), validation_fraction=0.1
    )
    build(options, folder / "english", 1, Console(quiet=True))
    return folder / "english"


def mixed(out: Path, **changes: Any) -> Recipe:
    data = {str(corpus("gpt2").folder): 0.7, str(other_text()): 0.3}
    return tiny("gpt2", out, steps=12, save_every=3, eval_every=4, **{"data": data, **changes})


def test_a_run_is_the_same_on_any_number_of_ranks_and_after_a_stop(tmp_path: Path) -> None:
    whole, cut = mixed(tmp_path / "whole"), mixed(tmp_path / "cut")
    assert pool(2).run(train, whole) == [None, None]
    pool(2).run(train, cut, 7)
    assert pool(2).run(train, cut) == [None, None]
    assert len(events(cut, "resume")) == 1
    assert losses(cut) == losses(whole) and events(cut, "eval") == events(whole, "eval")
    alone = mixed(tmp_path / "alone")
    assert pool(1).run(train, alone) == [None]
    assert losses(alone) == pytest.approx(losses(whole), rel=1e-4)


def test_each_text_has_a_loss_and_the_run_has_their_mean_by_shares(tmp_path: Path) -> None:
    recipe = mixed(tmp_path / "run", held_out={"law": str(other_text())})
    pool(2).run(train, recipe)
    for event in events(recipe, "eval"):
        own, english, law = (event["losses"][name] for name in ("gpt2", "english", "law"))
        assert event["loss"] == pytest.approx(0.7 * own + 0.3 * english)
        assert law == english
        assert 0 < event["bits_per_byte"] < 8


def test_a_run_does_not_go_on_with_other_shares(tmp_path: Path) -> None:
    pool(2).run(train, mixed(tmp_path / "run"), 7)
    half = {str(corpus("gpt2").folder): 0.5, str(other_text()): 0.5}
    for told in pool(2).run(train, mixed(tmp_path / "run", data=half)):
        assert "is not the text that the run in" in told and "its training text differs" in told
