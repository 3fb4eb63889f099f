"""Runs with keys of DeepSpeed's configuration that recipes refuse, to see what they would do."""

import traceback
from typing import Any
from unittest.mock import patch

from runs import train

from apollo_ds.config import deepspeed_keys
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes


def train_unrefused(processes: Processes, recipe: Recipe, keys: dict[str, Any]) -> str:
    """Train with these keys; what went wrong, or nothing."""
    config = {**recipe.deepspeed, **keys}
    config["zero_optimization"] = {**recipe.deepspeed["zero_optimization"], **keys.get("zero_optimization", {})}
    with patch.dict(deepspeed_keys.REFUSED, clear=True):
        try:
            return train(processes, recipe.model_copy(update={"deepspeed": config})) or ""
        except BaseException:  # pydantic's of DeepSpeed, assertions, errors of torch
            return traceback.format_exc()
