"""Sources for the methods that cannot do without: smaller models, some only said to be trained."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from corpora import corpus
from families import plus_first
from ranks import pool
from recipes import tiny
from runs import train

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.source import SourceRun
from apollo_ds.schedule.totals import Totals

_NEED_ONE = ("upscale",)


def half_as_deep(shape: ModelShape) -> SourceRun:
    """A source as a recipe has it, of half the layers that are alike. Its folder is not there."""
    first = int(FAMILIES[shape.family].first_layer_is_unlike)
    layers = first + max(1, (shape.num_layers - first) // 2)
    return SourceRun(
        folder=Path("source"),
        checkpoint=Path("source/checkpoints/step-10"),
        step=10,
        steps=10,
        shape=shape.model_copy(update={"num_layers": layers}),
        tokenizer=None,
        spent=Totals(step=10, tokens=1000, flops=1e9, seconds=1.0),
    )


def needed(method: str, shape: ModelShape) -> dict[str, Any]:
    """The options without which a method has no stages for a model, as a recipe's file could have them."""
    return {"source": half_as_deep(shape).model_dump(mode="json")} if method in _NEED_ONE else {}


def needed_words(method: str, shape: ModelShape) -> str:
    """The same method on a command line."""
    options = needed(method, shape)
    return f"method={json.dumps({'name': method, **options}) if options else method}"


def trained(method: str, family: str) -> dict[str, str]:
    """The folder of a trained source for `every_method.small_run`, where a method needs one."""
    return {"source": str(_trained(family))} if method in _NEED_ONE else {}


@cache
def _trained(family: str) -> Path:
    """A run of two layers, or three where the first is unlike the others, on real text."""
    text = corpus(family, real=True)
    model = {
        "family": family,
        "num_layers": plus_first(FAMILIES[family], 2),
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "vocab_size": text.vocab_size,
        "max_position_embeddings": 32,
    }
    out = Path(mkdtemp(prefix="apollo-ds-source-"))
    pool(2).run(train, tiny(family, out, model=model, method="scratch", data=str(text.folder), steps=8))
    return out
