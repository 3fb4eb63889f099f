"""Which rank this process is, and of how many. The launcher says so in environment variables."""

import os
import socket
from dataclasses import dataclass
from typing import Self

from apollo_ds.errors import UserError, shown

_LARGEST_PORT = 65535
_COUNTS = ("LOCAL_WORLD_SIZE", "LOCAL_SIZE")
"""torchrun sets the first, DeepSpeed's launcher the second, and launchers of this project both."""


@dataclass(frozen=True)
class RankOf:
    """A rank's number, and how many there are."""

    rank: int
    count: int

    @classmethod
    def this_process(cls) -> Self | None:
        """The rank of this process. None if no launcher made it a rank, that is, if RANK is not set.

        Raises:
            UserError: a variable is missing, is not a number, or is out of range.
        """
        if "RANK" not in os.environ:
            return None
        count = _number("WORLD_SIZE", 1, default=1)
        return cls(_number("RANK", 0, count - 1), count)

    def check_meeting(self) -> None:
        """Check that the environment says which GPU this rank has, and where the ranks meet.

        Raises:
            UserError: a variable is missing, is not a number, or is out of range.
        """
        _number("LOCAL_RANK", 0, default=0 if self.count == 1 else None)
        _number("MASTER_PORT", 1, _LARGEST_PORT, default=1)


def ranks_of_this_machine() -> int | None:
    """How many of the ranks run on this machine. None if the launcher does not say.

    Raises:
        UserError: the launcher's variable is not a number.
    """
    told = next((name for name in _COUNTS if name in os.environ), None)
    return _number(told, 1) if told else None


def free_port() -> str:
    """A port of the loopback interface at which nobody listens, so that several runs may share a machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def chosen_port() -> str:
    """The port at which the ranks of this machine meet: the user's MASTER_PORT, or a free one.

    Raises:
        UserError: MASTER_PORT is not the number of a port.
    """
    if os.environ.get("MASTER_PORT"):
        return str(_number("MASTER_PORT", 1, _LARGEST_PORT, advice="name a free port, or unset it"))
    return free_port()


def _number(
    name: str,
    least: int,
    most: int | None = None,
    default: int | None = None,
    advice: str = "it is the launcher's to set",
) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    wanted = f"{least} to {most}" if most is not None else f"at least {least}"
    if text is None:
        raise UserError(
            f"{name}: is not set, though RANK is; let the launcher set it, or unset RANK to start the ranks"
        )
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if number < least or (most is not None and number > most):
        raise UserError(f"{name}: must be a whole number, {wanted}, not {shown(text)}; {advice}")
    return number
