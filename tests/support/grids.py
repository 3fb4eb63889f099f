"""A sweep's file for tests."""

from pathlib import Path
from typing import Any

import yaml
from recipes import tiny, write

GRID: dict[str, Any] = {"method": ["scratch", "[deep_jump, decreasing_drop]"], "seed": [1, 2]}
NAMES = ("scratch,seed=1", "scratch,seed=2", "deep_jump+decreasing_drop,seed=1", "deep_jump+decreasing_drop,seed=2")
"""The names of its runs."""


def write_grid(folder: Path, grid: Any = GRID, *documents: dict[str, Any], **others: Any) -> Path:
    """A sweep's file, with a tiny recipe beside it; `others` are keys of its first document."""
    recipe = write(tiny("gpt2", folder / "unused"), folder / "recipe.yaml")
    path = folder / "grid.yaml"
    values = {"recipe": recipe, "grid": grid, "out": str(folder / "sweep"), **others}
    path.write_text(yaml.safe_dump_all([values, *documents], sort_keys=False))
    return path
