"""How many files a rank may have open: each of its connections to another rank is one."""

import resource
from collections.abc import MutableMapping

from apollo_ds.errors import UserError
from data_prep.files import raise_limit

_LAZY = "TORCH_GLOO_LAZY_INIT"
_SIDE_CHANNELS = 2
_BACKEND_GROUPS = {"cpu": 2, "cuda": 0}
"""Groups over Gloo in which training itself may connect all pairs of ranks: torch's own and DeepSpeed's."""
_OF_A_GROUP = 6
"""What a group has open beside its connections."""
_OTHERS = 256
"""Room for libraries, devices, text and checkpoints; a run of two CPU ranks was seen to have 31 open."""


def connect_when_needed(environment: MutableMapping[str, str]) -> None:
    """Let Gloo connect two ranks when they first talk, not all pairs at once, unless the environment says otherwise.

    A side channel goes round a ring, or to the ranks at distances of 1, 2, 4, ...: so of 512 ranks each has about 20
    connections, not 511.
    """
    environment.setdefault(_LAZY, "1")


def allow_connections(ranks: int, device: str) -> None:
    """Raise this process's limit as far as it may be raised, and see that so many ranks can be connected.

    Raises:
        UserError: they cannot.
    """
    raise_limit()
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = open_files(ranks, device)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise UserError(
            f"ulimit -n: {ranks:,} ranks need {needed:,} open files in each process, and the limit is {limit:,}; "
            f"raise it on every node, hard limit included: `ulimit -n {needed}`"
        )


def open_files(ranks: int, device: str) -> int:
    """How many a rank needs at most, on devices of this name: the first one, to which all others are connected."""
    neighbours = 2 * max(1, ranks - 1).bit_length() + 2  # of the ring, and up and down at each distance
    side = _SIDE_CHANNELS * (neighbours + _OF_A_GROUP)
    backend = _BACKEND_GROUPS.get(device, _BACKEND_GROUPS["cpu"]) * (ranks + _OF_A_GROUP)
    return side + backend + ranks + _OTHERS
