"""A growth to a billion parameters: no rank ever holds much more than its share of the state.

The file's name makes it the first: the ranks that later tests keep alive would leave too little memory.
"""

import psutil
import pytest
from growth import run

_GIB = 2**30


@pytest.mark.timeout(1800)
@pytest.mark.skipif(psutil.virtual_memory().total < 22 * _GIB, reason="needs a machine of 24 GB")
def test_a_growth_to_a_billion_parameters_needs_little_more_than_a_shard() -> None:
    """GPT-2 from 2 to 18 layers under ZeRO 3 in bf16, and a step afterwards."""
    measured = run("gpt-1b", "streaming")
    assert measured["parameters"] > 1e9
    assert measured["peak_extra"] < 1.5 * measured["shard_bytes"]
