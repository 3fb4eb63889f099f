"""The page docs/reference/metrics.md has each field that runs record, and no other."""

import re
from collections import defaultdict
from math import nan
from pathlib import Path
from typing import Any

from project import PROJECT
from ranks import pool
from recipes import tiny
from runs import WSD, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.events import read_metrics
from apollo_ds.training.trackers import point, tensorboard

from .test_early_ends import train_to_ends
from .test_mixture import other_text
from .test_rate_of_new import DEEPER
from .test_rollback import BATCH_TOKENS, train_with_bad_data

PAGE = (PROJECT / "docs" / "reference" / "metrics.md").read_text()
CUT_OFF = {"discard": {"step"}}
"""What is in the file only while a rollback goes on."""


def documented() -> dict[str, set[str]]:
    """The fields of each event that the page explains."""
    events, names = PAGE.split("## Names in")
    sections = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", events, re.MULTILINE | re.DOTALL)
    assert names
    return {kind: set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) for kind, text in sections}


def runs(folder: Path) -> list[Recipe]:
    """Runs in which all happens that can: an early end of a stage, a growth, a stop, a branch, a rollback."""
    early: dict[str, Any] = {"name": "staged", "operators": ["depth"], "grow_at": [0.5]}
    often = {**WSD, "eval_every": 2, "save_every": 2, "keep_every": 2, "held_out": {"other": str(other_text())}}
    trunk = tiny("gpt2", folder / "trunk", **{**often, "method": early})
    pool(2).run(train_to_ends, trunk, 9)
    assert pool(2).run(train_to_ends, trunk) == [None, None]
    branch = tiny("gpt2", folder / "branch", **{**often, "method": early, "branch_from": f"{trunk.out}@4"})
    assert pool(2).run(train_to_ends, branch) == [None, None]
    warmed = tiny("gpt2", folder / "warmed", **{**WSD, "method": DEEPER})
    assert pool(2).run(train, warmed) == [None, None]
    poisoned = tiny("gpt2", folder / "poisoned", method="scratch", steps=30, bad_steps=3, init_from=str(trunk.out))
    assert pool(2).run(train_with_bad_data, poisoned, 20 * BATCH_TOKENS, 25 * BATCH_TOKENS, nan) == [None, None]
    return [trunk, branch, warmed, poisoned]


def test_each_field_of_each_event_is_explained_and_no_other(tmp_path: Path) -> None:
    found = defaultdict(set, CUT_OFF)
    for recipe in runs(tmp_path):
        for event in read_metrics(recipe.out / "metrics.jsonl"):
            found[event["event"]] |= event.keys() - {"event"}
    assert documented() == dict(found)


def test_each_name_in_a_tracker_is_explained_and_no_other() -> None:
    told = {
        tag: f"`{field}` of `{kind}`" for kind, fields in point._SCALARS.items() for field, tag in fields.items()
    } | {f"{group}/NAME": f"`{field}` of `eval`" for field, group in point._OF_EACH_TEXT.items()}
    names = PAGE.partition("## Names in")[2]
    assert dict(re.findall(r"^\| `([\w/]+/\w+)` \| (`\w+` of `\w+`) \|$", names, re.MULTILINE)) == told
    assert all(f"`{group}/..." in names for group, _ in tensorboard._AXES.values())
    assert all(f"`progress/{key}`" in names for key in point.PROGRESS)
