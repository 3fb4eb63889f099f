"""Options at which every method shows all its stages in a short run, on real text."""

from pathlib import Path
from typing import Any

from corpora import corpus
from families import plus_first
from recipes import tiny
from runs import events
from sources import trained

from apollo_ds.config.recipe import Recipe
from apollo_ds.methods import METHODS
from apollo_ds.models.families import FAMILIES as ALL_FAMILIES

# What the defaults would make too short or too rare for a run of 24 steps.
OPTIONS: dict[str, dict[str, Any]] = {
    "apollo": {"grow_at": [0.25, 0.5]},
    "dpt": {"grow_at": 0.5},
    "g_stack": {"grow_at": 0.25},
    "mslt": {"blocks": 2},
    "bert2bert": {"prefix_fraction": 0.3},
    "pld": {"gamma": 10.0},
    "swe": {"unshare_at": 0.5, "adaptive": True},
    "short_to_long": {"until": [0.5]},
    "progressive_residual": {"fraction": 0.5},
}


COMBINATIONS: dict[str, list[Any]] = {
    "deep_jump+decreasing_drop+short_to_long": [
        {"name": "deep_jump", "jump_at": 0.5},
        "decreasing_drop",
        {"name": "short_to_long", "until": [0.75]},
    ],
    "compound_grow,stage_list": [
        {
            "name": "compound_grow",
            "restarts_learning_rate": True,
            "stage_list": [
                {"fraction": 0.25, "layers": 1, "intermediate_size": 32, "seq_len": 8, "learning_rate_scale": 1.5},
                {"fraction": 0.25, "layers": 3, "intermediate_size": 48, "seq_len": 16},
                {"fraction": 0.5},
            ],
        }
    ],
    "compound_grow,pool": [
        {
            "name": "compound_grow",
            "stage_list": [
                {"fraction": 0.25, "layers": 2, "pool": 4},
                {"fraction": 0.25, "pool": 2},
                {"fraction": 0.5},
            ],
        }
    ],
    "compound_grow,rank": [
        {
            "name": "compound_grow",
            "moments": "map",
            "stage_list": [{"fraction": 0.25, "layers": 2, "feed_forward_rank": 8}, {"fraction": 0.75}],
        }
    ],
    "sprout+progressive_residual": ["sprout", {"name": "progressive_residual", "fraction": 0.2}],
    "sprout,new_layers=silent": [{"name": "sprout", "new_layers": "silent"}],
    "dpt,first_layers=1": [{"name": "dpt", "first_layers": 1, "grow_at": 0.5, "rewarm": "new", "rewarm_to": 1.3}],
}


CASES = [*METHODS, *COMBINATIONS]
FAMILIES = {
    "bert2bert": "bert",
    "mslt": "bert",
    "pld": "roberta_prelayernorm",
    "compound_grow": "bert",
    "compound_grow,pool": "bert",
}
"""The models of methods for which the family matters; the others train GPT-2."""


def small_run(method: str, out: Path, family: str | None = None, **changes: Any) -> Recipe:
    """A run of 24 steps that grows to four layers, or five where the first is unlike the others."""
    family = family or FAMILIES.get(method, "gpt2")
    text, known = corpus(family, real=True), ALL_FAMILIES[family]
    model = {
        "family": family,
        "num_layers": plus_first(known, 4),
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "vocab_size": text.vocab_size,
        "max_position_embeddings": 32,
    }
    options = COMBINATIONS.get(method) or {"name": method, **OPTIONS.get(method, {}), **trained(method, family)}
    if method == "apollo" and known.first_layer_is_unlike:
        options = {**options, "layers": [2, 3, 5]}
    every = {"steps": 24, "eval_every": 4, "save_every": 3}
    return tiny(family, out, **{"model": model, "method": options, "data": str(text.folder), **every, **changes})


def middles(recipe: Recipe) -> list[int]:
    """The step in the middle of each stage of a run that is over."""
    stages: dict[int, list[int]] = {}
    for event in events(recipe, "step"):
        stages.setdefault(event["stage"], []).append(event["step"])
    return [steps[len(steps) // 2] for steps in stages.values()]
