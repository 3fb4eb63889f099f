"""The cost model against the real models and PyTorch's own counter."""

import pytest
from recipes import tiny

from apollo_ds.models.families import FAMILIES, PRESETS, family_of
from apollo_ds.models.flops import matrix_parameters, parameters
from apollo_ds.models.pretraining import skeleton


@pytest.mark.parametrize(
    ("preset", "layers", "expected"),
    [
        ("bert-base", (0, 1, 3, 6, 12), (24_459_834, 31_547_706, 45_723_450, 66_987_066, 109_514_298)),
        ("bert-large", (1, 6, 24), (45_461_306, 108_442_426, 335_174_458)),
        ("gpt2-base", (0, 1, 3, 6, 12), (39_385_344, 46_473_216, 60_648_960, 81_912_576, 124_439_808)),
    ],
)
def test_parameters_of_the_presets(preset: str, layers: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert tuple(parameters(PRESETS[preset], count) for count in layers) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_of_the_layers_are_counted(family: str) -> None:
    shape = tiny(family, "unused").model
    model = skeleton(shape, 3)
    matrices = [p.numel() for p in model.layers.parameters() if p.dim() > 1]
    assert matrix_parameters(shape, 3) == sum(matrices)


def test_bert_base_layer_is_the_published_size() -> None:
    shape = PRESETS["bert-base"]
    assert family_of(shape).layer_flops(shape, 512) / 512 == pytest.approx(15.73e6, rel=1e-3)
