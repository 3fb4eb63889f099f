"""Whether a method does what its options say: none is without effect, cut to another value, or turns it into another.

A recipe is checked so where a user writes it. What an earlier version trained under is read as it is.
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
    """Look for options that a recipe sets in vain.

    Raises:
        UserError: one has no effect or would be replaced, or the method as a whole trains as without it.
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
    """Whether a method with another value of an option trains as it does; not where it cannot have it."""
    try:
        return effective(stages_of(part.model_copy(update=change))) == effective(stages)
    except UserError:
        return False


def _checked(part: Method, run: Run, without: Sequence[Stage], stages_of: _Stages, place: str = "") -> Sequence[Stage]:
    """The stages of a method that differ from those without it, and from those without each option that it sets."""
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
        if follows or name in part.stated or not part.sets(name):  # what follows from other values may be stated
            continue
        # A default that gives way may stand for the value that is given: then only a choice among others tells.
        others = get_args(field.annotation) if name in part.fitted else (field.default,)
        if others and all(_trains_alike(part, {name: other}, stages, stages_of) for other in others):
            raise UserError(
                f"method{place}.{name}: {shown(getattr(part, name))} has no effect here: the run would train as with "
                f"{shown(field.default)}; remove it"
            )
    return stages


def _check_warm_up(part: GrowingMethod, run: Run) -> None:
    """Look for a warm-up that is over as soon as it begins, and is meant to do something."""
    steps = round(part.rewarm_fraction * run.steps)
    asked = part.sets("rewarm_from") or (part.sets("rewarm") and part.rewarm_to == 1)
    if part.rewarm != "none" and steps < 2 and asked:
        raise UserError(
            f"method.rewarm_fraction: {part.rewarm_fraction:g} of {run.steps:,} steps is no warm-up; use at least "
            f"{2 / run.steps:.2g}, which is two steps"
        )
