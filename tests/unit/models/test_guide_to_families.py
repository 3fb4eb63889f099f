"""The family that docs/guides/add-a-family.md shows is whole."""

from typing import Any

import pytest
from families import shape_of
from pages import blocks

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.flops import parameters


def test_the_guide_s_family_knows_each_parameter_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks("docs/guides/add-a-family.md", "python")
    found: dict[str, Any] = {"__name__": "qwen2"}
    exec(compile(example.text, example.place, "exec"), found)
    family = found["Qwen2"]()
    monkeypatch.setitem(FAMILIES, "qwen2", family)
    shape = shape_of(family, 2)
    model = family.model_class()(family.config(shape))
    weights = dict(model.named_parameters(prefix="model"))  # as training holds it
    assert parameters(shape, 2) == sum(weight.numel() for weight in weights.values())
    assert {name: len(family.dimensions(name)) for name in weights} == {name: w.dim() for name, w in weights.items()}
