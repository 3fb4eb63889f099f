"""fp16's loss scale, and what DeepSpeed 0.19.8 does wrong with it.

Small gradients would be zero in fp16, so the loss is multiplied before the backward and gradients are divided after it.
DeepSpeed changes the scale before it divides, so that each time the scale doubles, gradients come out half as large.
Without ZeRO it divides gradients of a loss that it has not multiplied. Both are put right here. Where the scale cannot
fall any more, it ends with an error of its own at some stages, and leaves out every step for ever at others.
"""

from typing import Any

from torch import Tensor

from apollo_ds.errors import UserError

_MOST_STUCK = 10
"""So many overflows in a row at a scale that cannot fall end the run."""
_STUCK = "stuck"
"""What the state calls the number of overflows in a row at a scale that cannot fall."""
_STATE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class LossScaling:
    """The loss scale of a DeepSpeed engine. In other precisions than fp16 it does nothing."""

    def __init__(self, engine: Any) -> None:
        self._scaler: Any = None
        self._scales_by_itself = engine.zero_optimization_stage() > 0
        self._overflow: bool | None = None
        """Whether the step that was taken had one; None where there was none, or the scale knows already."""
        self._stuck = 0
        if engine.fp16_enabled():
            optimizer = engine.optimizer
            self._scaler = optimizer.loss_scaler if self._scales_by_itself else optimizer.loss_scale_config
            self._is_dynamic = engine.dynamic_loss_scale()
            self._scaler.raise_error_at_min_scale = False
            self._change_scale = optimizer._update_scale
            optimizer._update_scale = self._put_off

    def _put_off(self, overflow: bool = False) -> None:
        self._overflow = bool(overflow)

    def of(self, loss: Tensor) -> Tensor:
        """The loss whose backward is to be run, as `engine.backward` wants it."""
        return loss if self._scaler is None or self._scales_by_itself else loss.float() * self._scaler.cur_scale

    @property
    def of_norm(self) -> float:
        """By how much the gradient norm that DeepSpeed tells is too large."""
        return 1.0 if self._scaler is None or self._scales_by_itself else float(self._scaler.cur_scale)

    def end_step(self) -> None:
        """Change the scale as the step that was taken demands: halve it after overflows, double it after a while.

        Raises:
            UserError: gradients overflow time and again at a scale that cannot fall; on every rank.
        """
        if self._overflow is None:
            return
        before, is_patient = self._scaler.cur_scale, getattr(self._scaler, "cur_hysteresis", 1) > 1
        self._change_scale(self._overflow)
        self._stuck = self._stuck + 1 if self._overflow and self._scaler.cur_scale == before and not is_patient else 0
        self._overflow = None
        if self._stuck == _MOST_STUCK:
            raise UserError(
                f"deepspeed.fp16: {_MOST_STUCK} steps in a row overflowed at a loss scale of {before:g}, which cannot "
                "fall; go on with bf16 or a lower fp16.loss_scale, or begin anew with a lower learning_rate"
            )

    def state(self) -> dict[str, float]:
        """What the scale's course goes on from; empty in other precisions."""
        if self._scaler is None:
            return {}
        state = {key: getattr(self._scaler, key, None) for key in _STATE}
        return {**{key: value for key, value in state.items() if value is not None}, _STUCK: self._stuck}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from what `state` gave; a scale that is fixed stays as the configuration has it.

        Without effect in other precisions.
        """
        if self._scaler is None:
            return
        if self._is_dynamic:
            for key, value in state.items():
                if getattr(self._scaler, key, None) is not None:
                    setattr(self._scaler, key, value)
        if state.get("cur_scale") == self._scaler.cur_scale:
            self._stuck = int(state.get(_STUCK, 0))
