"""The loss scale of fp16, with corrections of three faults of DeepSpeed 0.19.8.

Small gradients would be zero in fp16. So the loss is multiplied by a scale before the backward pass, and the gradients
are divided by it after. DeepSpeed changes the scale before it divides, so gradients are half as large as they should be
each time the scale doubles. Without ZeRO it divides the gradients of a loss that it has not multiplied. When the scale
cannot fall any more, DeepSpeed raises an error of its own at some ZeRO stages, and skips every further step at others.
"""

from typing import Any

from torch import Tensor

from apollo_ds.errors import UserError

_MOST_STUCK = 10
"""The run ends after so many overflows in a row at a scale that cannot fall."""
_STUCK = "stuck"
"""The key in the state for the number of overflows in a row at a scale that cannot fall."""
_STATE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class LossScaling:
    """The loss scale of a DeepSpeed engine. In fp32 and bf16 it does nothing."""

    def __init__(self, engine: Any) -> None:
        self._scaler: Any = None
        self._scales_by_itself = engine.zero_optimization_stage() > 0
        self._overflow: bool | None = None
        """Whether the last step overflowed; None before any step, or once the scale has been updated for it."""
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
        """The scaled loss to pass to `engine.backward`."""
        return loss if self._scaler is None or self._scales_by_itself else loss.float() * self._scaler.cur_scale

    @property
    def of_norm(self) -> float:
        """The factor by which the gradient norm that DeepSpeed reports is too large."""
        return 1.0 if self._scaler is None or self._scales_by_itself else float(self._scaler.cur_scale)

    def end_step(self) -> None:
        """Update the scale after a step: halve it after overflows, double it after many steps without one.

        Raises:
            UserError: ten overflows in a row at a scale that cannot fall. Every rank raises it.
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
        """The values that `restore` needs to continue with this scale; empty in fp32 and bf16."""
        if self._scaler is None:
            return {}
        state = {key: getattr(self._scaler, key, None) for key in _STATE}
        return {**{key: value for key, value in state.items() if value is not None}, _STUCK: self._stuck}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from the values of `state`. A fixed scale keeps the value of the configuration.

        This has no effect in fp32 and bf16.
        """
        if self._scaler is None:
            return
        if self._is_dynamic:
            for key, value in state.items():
                if getattr(self._scaler, key, None) is not None:
                    setattr(self._scaler, key, value)
        if state.get("cur_scale") == self._scaler.cur_scale:
            self._stuck = int(state.get(_STUCK, 0))
