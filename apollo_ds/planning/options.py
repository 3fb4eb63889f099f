"""Check the options of `apollo-ds plan` about a machine and its speed."""

from typing import Any

from apollo_ds.errors import UserError
from apollo_ds.planning.forecast import Machine
from apollo_ds.planning.outlook import Rate

GIGA = 1e9
_SLOWEST, _FASTEST = 1e-6, 1e6
"""The range of gigabytes per second that may be given for a network or storage."""
_FEWEST_TOKENS, _MOST_TOKENS = 1e-3, 1e12
"""The range of tokens per second that may be given for a machine."""


def stated_rate(tokens_per_second: float | None) -> Rate | None:
    """The rate that `--tokens-per-second` gives. None if the option is not given.

    Raises:
        UserError: the number is out of range.
    """
    if tokens_per_second is None:
        return None
    if not _FEWEST_TOKENS <= tokens_per_second <= _MOST_TOKENS:
        raise UserError(
            f"--tokens-per-second: must be from {_FEWEST_TOKENS:g} to {_MOST_TOKENS:g}, such as 20000, not "
            f"{tokens_per_second:g}"
        )
    return Rate(tokens_per_second)


def machine_of(
    ranks: int | None,
    ranks_per_node: int | None,
    network: float | None,
    storage: float | None,
    utilisation: float | None,
) -> Machine | None:
    """The machine that the options of these names describe. None if --ranks is not given. Speeds are in GB per second.

    Raises:
        UserError: a number is out of range, or an option has no effect because --ranks is missing. The message names
            the option.
    """
    counts = {"--ranks": ranks, "--ranks-per-node": ranks_per_node}
    speeds = {"--network": network, "--storage": storage}
    given = [name for name, value in (counts | speeds | {"--utilisation": utilisation}).items() if value is not None]
    if given and ranks is None:
        raise UserError(f"{given[0]}: is for a forecast; give --ranks too")
    for option, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{option}: must be at least 1, not {count}")
    for option, speed in speeds.items():
        if speed is not None and not _SLOWEST <= speed <= _FASTEST:
            raise UserError(f"{option}: must be gigabytes a second, from {_SLOWEST:g} to {_FASTEST:g}, not {speed:g}")
    if utilisation is not None and not 0 < utilisation <= 1:
        raise UserError(f"--utilisation: must be above 0 and at most 1, such as 0.4, not {utilisation:g}")
    if ranks is None:
        return None
    told: dict[str, Any] = {
        "ranks_per_node": ranks_per_node,
        "network": network and network * GIGA,
        "storage": storage and storage * GIGA,
        "utilisation": utilisation,
    }
    return Machine(ranks, **{name: value for name, value in told.items() if value is not None})
