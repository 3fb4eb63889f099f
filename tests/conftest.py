"""Environment of the whole suite: CPU ranks, no network, no spinning threads. The folder of a test is its tier."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

_TESTS = Path(__file__).parent
_UNMARKED = "unit"

settings.register_profile("patient", deadline=None)  # a busy machine makes a quick test slow
settings.load_profile("patient")
sys.path.insert(0, str(_TESTS / "support"))
os.environ.update(
    DS_ACCELERATOR="cpu",
    GOMP_SPINCOUNT="0",
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # tests start `deepspeed` by its name
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its tier, so that `-m` may choose by it; unit tests have no mark."""
    for item in items:
        tier = item.path.relative_to(_TESTS).parts[0]
        if tier != _UNMARKED:
            item.add_marker(tier)
