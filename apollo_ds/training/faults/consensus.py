"""Agreement of all ranks, after each step, to continue, to stop or to fail."""

from enum import IntEnum

from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.errors import Stopped, UserError
from apollo_ds.training.faults.stop_signal import StopRequest


class _Wish(IntEnum):
    GO_ON = 0
    STOP = 1
    FAIL = 2


class Consensus:
    """Ranks start the vote before a step and read its result after the step, so that no step waits for it."""

    def __init__(self, processes: Processes, request: StopRequest) -> None:
        self.request = request
        self._channel = SideChannel(processes)
        self._failure: str | None = None

    def ask(self, failure: str | None) -> None:
        """Start the vote. `failure` says why this rank cannot continue; None if it can."""
        self._failure = failure
        wish = _Wish.FAIL if failure else _Wish.STOP if self.request.reason else _Wish.GO_ON
        self._pending = self._channel.start_maximum(wish)

    def stop_is_wanted(self) -> bool:
        """The result of the vote: whether a signal has told some rank to stop.

        Raises:
            UserError: some rank cannot continue. Every rank raises it.
        """
        wish = self._pending.wait()
        if wish == _Wish.FAIL:
            raise UserError(next(failure for failure in self._channel.exchange(self._failure) if failure))
        return wish == _Wish.STOP

    def stop(self, step: int) -> None:
        """End the run after its checkpoint has been saved.

        Raises:
            Stopped: always.
        """
        reasons = self._channel.exchange(self.request.reason)
        heard = sum(reason is not None for reason in reasons)
        first = next(reason for reason in reasons if reason)
        raise Stopped(f"{first} ({heard} of {len(reasons)} ranks): stopped after step {step:,}, saved")

    def close(self) -> None:
        """Free the connection. All ranks call it together."""
        self._channel.close()
