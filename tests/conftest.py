"""Environment of the whole suite: CPU ranks, no network, no spinning threads."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.update(
    DS_ACCELERATOR="cpu",
    GOMP_SPINCOUNT="0",
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
)
