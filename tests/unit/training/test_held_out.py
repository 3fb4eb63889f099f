"""Held-out losses of several texts: the run's is that of its sources, whatever the sets are that are only measured."""

from math import inf, isnan, log, nan
from types import SimpleNamespace
from typing import Any

import pytest

from apollo_ds.data.batches import HeldOutSet
from apollo_ds.training.held_out import HeldOutLoss, HeldOutText

SHARES = {"wiki": 0.75, "books": 0.25, "law": 0.0}


def text() -> HeldOutText:
    """Sets a token of which has 4 bytes."""
    none: Any = None
    sets = [HeldOutSet(name, none, share, 4.0) for name, share in SHARES.items()]
    source = SimpleNamespace(held_out=sets, family=SimpleNamespace(is_masked=False))
    batches: Any = SimpleNamespace(source=source)
    return HeldOutText(batches, none)


def measured(losses: list[float], only_sources: bool = False) -> HeldOutLoss:
    """What is measured where the sets have these losses."""
    stage: Any = SimpleNamespace(evaluation_depth=1, map_to=lambda depth: depth)
    told = iter(losses)
    engine: Any = SimpleNamespace(evaluate=lambda *_: next(told))
    return text().measure(engine, stage, (), only_sources)


@pytest.mark.parametrize("law", [1.0, inf, nan])
def test_a_set_that_is_only_measured_is_no_part_of_the_loss(law: float) -> None:
    found = measured([4.0, 2.0, law])
    assert found.loss == 3.5
    assert found.bits_per_byte == pytest.approx(3.5 / log(2) / 4)
    assert list(found.losses) == list(found.bits) == ["wiki", "books", "law"]
    assert found.bits["books"] == pytest.approx(2.0 / log(2) / 4)


def test_a_source_whose_loss_is_no_number_leaves_the_run_none() -> None:
    assert isnan(measured([4.0, nan, 1.0]).loss)


def test_only_the_sources_are_measured_where_no_other_set_is_wanted() -> None:
    assert list(measured([4.0, 2.0], only_sources=True).losses) == ["wiki", "books"]


def test_the_bits_of_a_loss_that_was_measured_before() -> None:
    assert text().bits_per_byte(3.5) == pytest.approx(3.5 / log(2) / 4)
