"""A recipe of the keys that must be there, and what a wrong one is answered with."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from apollo_ds.config.load import load_recipe
from apollo_ds.errors import UserError

LEAST: dict[str, Any] = {
    "model": "bert-small",
    "method": "apollo",
    "data": "data/text",
    "out": "runs/test",
    "steps": 400,
    "global_batch_size": 24,
    "micro_batch_size": 5,
    "learning_rate": 1e-4,
    "eval_every": 10,
    "save_every": 10,
}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe of the keys that must be there, and a DeepSpeed file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**LEAST, "deepspeed": "ds_configs/zero1.json"}))
    return path


def complaint(path: Path, *overrides: str) -> str:
    """The one sentence that a wrong recipe is answered with."""
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message
