"""The limit on a rank's open files. Each connection to another rank is one open file."""

import resource
from collections.abc import MutableMapping

from apollo_ds.errors import UserError
from data_prep.files import raise_limit

_LAZY = "TORCH_GLOO_LAZY_INIT"
_SIDE_CHANNELS = 2
_BACKEND_GROUPS = {"cpu": 2, "cuda": 0}
"""The number of Gloo groups in which training may connect all pairs of ranks: torch's own and DeepSpeed's."""
_OF_A_GROUP = 6
"""Files that a group has open besides its connections."""
_OTHERS = 256
"""Files for libraries, devices, text and checkpoints. A run of two CPU ranks was seen to have 31 open."""


def connect_when_needed(environment: MutableMapping[str, str]) -> None:
    """Let Gloo connect two ranks when they first talk, not all pairs at once, unless the environment says otherwise.

    A side channel sends round a ring, or to the ranks at distances of 1, 2, 4, and so on. With 512 ranks each rank then
    has about 20 connections instead of 511.
    """
    environment.setdefault(_LAZY, "1")


def allow_connections(ranks: int, device: str) -> None:
    """Raise this process's limit on open files as far as allowed, and check that it is enough for so many ranks.

    Raises:
        UserError: the limit is too low.
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
    """The open files that rank 0 needs on devices of this kind. It needs most, since all others connect to it."""
    neighbours = 2 * max(1, ranks - 1).bit_length() + 2  # two in the ring, and two at each distance
    side = _SIDE_CHANNELS * (neighbours + _OF_A_GROUP)
    backend = _BACKEND_GROUPS.get(device, _BACKEND_GROUPS["cpu"]) * (ranks + _OF_A_GROUP)
    return side + backend + ranks + _OTHERS
