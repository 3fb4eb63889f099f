"""Check that every option of a method has an effect, and that its value is not replaced by another.

Only a recipe that a user writes is checked. The recipe of a run from an earlier version is read as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

from apollo_ds.errors import UserError, shown
from apollo_ds.methods import Combination, GrowingMethod, Method, Modifier, Run
from apollo_ds.methods.scratch import Scratch
from apollo_ds.schedule.effective import effective
from apollo_ds.schedule.stage import Stage
from data_prep.counted import counted

_Stages = Callable[[Method], Sequence[Stage]]


def check_effects(method: Method, run: Run) -> None:
    """Look for options that a recipe sets without effect.

    Raises:
        UserError: an option has no effect or would be replaced, or the whole method changes nothing.
    """
    stages: Sequence[Stage]
    first, *others = method.parts if isinstance(method, Combination) else (method,)
    if isinstance(first, Scratch):
        stages = first.stages(run)
    else:
        stages = _checked(first, run, Scratch().stages(run), lambda part: part.stages(run))
    for number, other in enumerate(others, start=1):
        assert isinstance(other, Modifier)
        stages = _checked(other, run, stages, _laid_over(stages, run), f"[{number}]")


def _laid_over(stages: Sequence[Stage], run: Run) -> _Stages:
    return lambda part: part.modify(list(stages), run) if isinstance(part, Modifier) else stages


def _trains_alike(part: Method, change: dict[str, Any], stages: Sequence[Stage], stages_of: _Stages) -> bool:
    """Whether a method trains the same with another value of an option. False if it cannot have that value."""
    try:
        return effective(stages_of(part.model_copy(update=change))) == effective(stages)
    except UserError:
        return False


def _checked(part: Method, run: Run, without: Sequence[Stage], stages_of: _Stages, place: str = "") -> Sequence[Stage]:
    """The stages of a method, which differ from those without it, and from those without each option that it sets.

    Raises:
        UserError: they do not differ.
    """
    part.check_fits(run)
    if isinstance(part, GrowingMethod):
        _check_warm_up(part, run)
    stages = stages_of(part)
    if effective(stages) == effective(without):
        layers = counted(run.shape.num_layers, "layer")
        raise UserError(
            f"method{place}: {part.name} with these options changes nothing for {layers}; "
            f"change them, or {'leave it out' if place else 'use method=scratch'}"
        )
    for name in part.model_fields_set:
        field = type(part).model_fields[name]
        follows = field.is_required() or field.default is None or field.default_factory
        if follows or name in part.stated or not part.sets(name):  # a value that follows from others may be given too
            continue
        # The default may be replaced by just the value that is given. Then only another choice shows an effect.
        others = get_args(field.annotation) if name in part.fitted else (field.default,)
        if others and all(_trains_alike(part, {name: other}, stages, stages_of) for other in others):
            raise UserError(
                f"method{place}.{name}: {shown(getattr(part, name))} has no effect here: the run would train as with "
                f"{shown(field.default)}; remove it"
            )
    return stages


def _check_warm_up(part: GrowingMethod, run: Run) -> None:
    """Look for a warm-up that is given but is too short to do anything."""
    steps = round(part.rewarm_fraction * run.steps)
    asked = part.sets("rewarm_from") or (part.sets("rewarm") and part.rewarm_to == 1)
    if part.rewarm != "none" and steps < 2 and asked:
        raise UserError(
            f"method.rewarm_fraction: {part.rewarm_fraction:g} of {run.steps:,} steps is too short; use at least "
            f"{2 / run.steps:.2g}, which is two steps"
        )
