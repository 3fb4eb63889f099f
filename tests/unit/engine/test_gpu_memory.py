"""A GPU's kept memory grows in place, unless the user says otherwise."""

import pytest

from apollo_ds.engine.gpu_memory import let_segments_grow


def test_segments_grow_where_nothing_else_is_said() -> None:
    environment = {"PATH": "/bin"}
    let_segments_grow(environment)
    assert environment == {"PATH": "/bin", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"])
@pytest.mark.parametrize("value", ["max_split_size_mb:512", ""])
def test_a_user_s_own_setting_stays(name: str, value: str) -> None:
    environment = {name: value}
    let_segments_grow(environment)
    assert environment == {name: value}


def test_nothing_is_set_for_a_cpu() -> None:
    environment = {"DS_ACCELERATOR": "cpu"}
    let_segments_grow(environment)
    assert environment == {"DS_ACCELERATOR": "cpu"}
