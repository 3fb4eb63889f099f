"""How many files a rank may have open: each of its connections to another rank is one."""

import resource
from contextlib import suppress

from apollo_ds.errors import UserError

_GROUPS = {"cpu": 4, "cuda": 2}
"""Groups over Gloo, which connects all pairs of ranks: two side channels, and on a CPU torch's own and DeepSpeed's."""
_OF_A_GROUP = 3
"""What a group has open beside its connections."""
_OTHERS = 256
"""Room for libraries, devices, text and checkpoints; a run of two CPU ranks was seen to have 31 open."""


def allow_connections(ranks: int, device: str) -> None:
    """Raise this process's limit as far as it may be raised, and see that so many ranks can be connected.

    Raises:
        UserError: they cannot.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # in a container, `most` may be above what the system allows
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The first rank also has a connection of each to the store at which they meet.
    needed = _GROUPS.get(device, _GROUPS["cpu"]) * (ranks + _OF_A_GROUP) + ranks + _OTHERS
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise UserError(
            f"ulimit -n: {ranks:,} ranks need {needed:,} open files in each process, and the limit is {limit:,}; "
            f"raise it on every node, hard limit included: `ulimit -n {needed}`"
        )
