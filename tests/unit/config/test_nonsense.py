"""A small part of the nonsense that tests/support/nonsense.py draws: taken with numbers, or refused in a sentence."""

from pathlib import Path

from nonsense import keys, try_nonsense
from tally import REFUSED, TAKEN

from apollo_ds.config.recipe import Recipe


def test_nonsense_is_refused_in_a_sentence_or_taken_with_numbers(tmp_path: Path) -> None:
    tried = try_nonsense(tmp_path, values=50, texts=25, seed=1)
    assert [str(one) for one in tried if one.is_fault] == []
    assert {one.outcome for one in tried} == {REFUSED, TAKEN}


def test_each_key_is_drawn() -> None:
    names = {name for name, _ in keys()}
    assert names > Recipe.model_fields.keys() - {"model", "method"}
    assert {"model.hidden_size", "method.first_layers", "deepspeed.zero_optimization.offload_param.device"} < names
