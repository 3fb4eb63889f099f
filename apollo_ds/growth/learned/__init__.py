"""Learned growth: an operator from a small model's weights to a large one's, whose coefficients are trained.

Learning it is a stage of the schedule like any other. `LearnedGrowthModel` trains the coefficients on the pretraining
loss while the small weights stay fixed. The growth out of that stage makes the large weights, once and for all.
A new operator is a file here with a subclass of `LearnedOperator` in it.
"""

from functools import cache
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pkgutil import iter_modules

from apollo_ds.growth.learned.operator import LearnedOperator
from apollo_ds.schedule.stage import LearnedGrowth, Stage


@cache
def find_operators() -> dict[str, type[LearnedOperator]]:
    """The operators in this package's files, by name."""
    found: dict[str, type[LearnedOperator]] = {}
    for module in iter_modules(__path__):
        for _, kind in getmembers(import_module(f"{__name__}.{module.name}"), isclass):
            if issubclass(kind, LearnedOperator) and not isabstract(kind):
                found[kind.operator_name] = kind
    return dict(sorted(found.items()))


def operator_of(learned: LearnedGrowth, stage: Stage) -> LearnedOperator:
    """Make the operator that a stage learns.

    Raises:
        UserError: the source cannot grow into the stage's model.
    """
    kind = find_operators()[learned.operator]
    return kind(learned.source, learned.source_layers, stage.shape, stage.unique_layers)


__all__ = ["LearnedOperator", "find_operators", "operator_of"]
