"""Set the number of threads of a rank if several ranks share the cores of one machine."""

import os
from collections.abc import MutableMapping

from apollo_ds.gpus import visible_gpus
from apollo_ds.ranks import ranks_of_this_machine
from apollo_ds.training.faults.stop_signal import STARTED_BY


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Make OpenMP use one thread, which does not spin while it waits, unless the user has set these variables.

    OpenMP reads them when torch is imported.
    """
    environment.setdefault("GOMP_SPINCOUNT", "0")
    environment.setdefault("OMP_NUM_THREADS", "1")


def share_cores_with_other_ranks() -> None:
    """Call `share_cores` for this process if another project's launcher has started several ranks on CPUs."""
    if STARTED_BY not in os.environ and (ranks_of_this_machine() or 1) > 1 and not visible_gpus():
        share_cores(os.environ)
