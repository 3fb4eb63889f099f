"""Ranks load a model that `transformers` saved, under any ZeRO stage, and train from there."""

import subprocess
import sys
from pathlib import Path

import pytest
from loading_saved import load_and_train
from ranks import pool
from recipes import tiny, zero
from saved_models import saved

from apollo_ds.config.source_model import read_model

_READ = """
import sys
from apollo_ds.config.load import load_recipe
from apollo_ds.config.source_model import read_model
read_model(sys.argv[1])
load_recipe("bert-base", [f"model=hf:{sys.argv[1]}", "seq_len=8"])
print(*sys.modules)
"""


@pytest.mark.parametrize(("world_size", "stage"), [(1, 0), (2, 0), (2, 1), (2, 3)])
@pytest.mark.parametrize("family", ["gpt2", "roberta_prelayernorm"])
def test_ranks_hold_what_the_files_hold(family: str, world_size: int, stage: int, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", family, shard_size="8KB", vocab_size=300, max_position_embeddings=36)
    recipe = tiny(family, tmp_path / "run", method="scratch", deepspeed=zero(stage))
    recipe = recipe.model_copy(update={"model": read_model(str(folder)).shape})
    equal, losses = pool(world_size).run(load_and_train, recipe, folder)[0]
    assert all(equal.values()) and len(equal) > 10
    assert len(losses) == 2


def test_reading_a_model_does_not_import_torch(tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert", shard_size="2KB")
    done = subprocess.run([sys.executable, "-c", _READ, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    assert not {"torch", "transformers"} & set(done.stdout.split())
