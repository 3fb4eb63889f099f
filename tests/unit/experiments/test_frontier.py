"""The best fixed model for a cost: every number can be worked out by hand from the runs written here."""

from itertools import pairwise
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from branches import branch, point
from fixed_models import frontier_of, sizes, write_fixed
from histories import TERA, write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.frontier import Frontier

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
A_LINE = st.dictionaries(st.integers(10, 90), st.floats(1, 8), min_size=1, max_size=4)
"""Losses of one model by TFLOPs."""


def write_lines(folder: Path, *lines: dict[int, float]) -> list[Path]:
    """Each line as the runs of one model, of 1, 2, 3 ... layers."""
    return [
        write_fixed(folder / f"{layers}-{cost}", cost, loss, layers)
        for layers, line in enumerate(lines, 1)
        for cost, loss in line.items()
    ]


def test_between_two_lengths_the_loss_is_straight_over_the_logarithm_of_the_cost(tmp_path: Path) -> None:
    frontier = frontier_of(*write_lines(tmp_path, {10: 4.0, 40: 3.0, 80: 2.75}))
    assert frontier.loss_at(10 * TERA) == 4.0
    assert frontier.loss_at(20 * TERA) == pytest.approx(3.5)
    assert frontier.loss_at(40 * sqrt(2) * TERA) == pytest.approx(2.875)
    assert frontier.cost_of(3.5) == pytest.approx(20 * TERA)
    assert frontier.loss_at(20, "seconds") == pytest.approx(3.5)


def test_nothing_is_known_beyond_a_model_s_lengths(tmp_path: Path) -> None:
    frontier = frontier_of(*write_lines(tmp_path, {10: 4.0, 40: 3.0}, {50: 3.5}))
    known = {cost: frontier.loss_at(cost * TERA) for cost in (9.89, 9.91, 40.39, 40.41, 45, 49.4, 49.6, 50.4, 50.6)}
    losses = [None, 4.0, 3.0, None, None, None, 3.5, 3.5, None]
    assert list(known.values()) == losses
    assert frontier.spans() == [(10 * TERA, 40 * TERA), (50 * TERA, 50 * TERA)]
    assert frontier.cost_of(2.99) is None
    assert frontier.cost_of(4.01) is None
    assert frontier.cost_of(4.0) == 10 * TERA


def test_the_frontier_is_the_lowest_line_and_tells_whose_it_is(tmp_path: Path) -> None:
    frontier = frontier_of(*write_lines(tmp_path, {10: 4.0, 40: 3.5}, {10: 4.5, 40: 3.0}))
    assert [model.name for model in frontier.models] == ["1 layer", "2 layers"]
    best = [frontier.best_at(cost * TERA) for cost in (10, 19, 21, 40, 50)]
    assert [model.name if model else None for model in best] == ["1 layer", "1 layer", "2 layers", "2 layers", None]
    assert frontier.loss_at(20 * TERA) == pytest.approx(3.75)
    assert frontier.cost_of(3.5) == pytest.approx(10 * 4 ** (2 / 3) * TERA)


def test_seeds_are_one_point_and_lengths_one_model(tmp_path: Path) -> None:
    runs = [write_fixed(tmp_path / f"a{seed}", 10, loss, seed=seed) for seed, loss in ((1, 4.0), (2, 4.5))]
    runs += [write_fixed(tmp_path / "b", 40, 3.0, eval_every=7, warmup_fraction=0.5, decay_fraction=0.1)]
    (model,) = frontier_of(*runs).models
    assert [(point.steps, point.loss, len(point.group.runs)) for point in model.points] == [
        (1000, 4.25, 2),
        (4000, 3.0, 1),
    ]
    assert frontier_of(*runs).of_seed(2).loss_at(10 * TERA) == 4.5
    assert frontier_of(*runs).of_seed(3).loss_at(10 * TERA) is None


def test_models_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    other = {"model": sizes(6, hidden_size=64), "learning_rate": 0.002}
    frontier = frontier_of(write_fixed(tmp_path / "a", 10, 4.0), write_fixed(tmp_path / "b", 10, 4.0, **other))
    assert [model.name for model in frontier.models] == [
        "6 layers, learning_rate=0.001, hidden_size=32",
        "6 layers, learning_rate=0.002, hidden_size=64",
    ]


def test_of_one_length_by_two_ways_the_lower_counts(tmp_path: Path) -> None:
    runs = [
        write_fixed(tmp_path / f"{fraction}", 10, 4 - fraction, decay_fraction=fraction, speed=fraction)
        for fraction in (0.1, 0.5)
    ]
    (model,) = frontier_of(*runs).models
    assert len(model.points) == 2
    assert model.line("flops") == [(10 * TERA, 3.5)]
    assert model.line("seconds") == [(20, 3.5)]


def test_a_branch_of_a_trunk_that_never_decayed_is_a_length(tmp_path: Path) -> None:
    values = {"seed": 1, "model": sizes(), "lr_schedule": "wsd", "decay_fraction": 0.2}
    trunk = write_run(tmp_path / "trunk", [(10.0, 5.0), (20.0, 4.0)], config={"run": "trunk"}, finished=False, **values)
    folder = branch(tmp_path / "branch", trunk, 10, [(14.0, 3.0)], steps=20, **values)
    frontier = frontier_of(folder, write_fixed(tmp_path / "whole", 28, 2.5))
    assert len(frontier.models) == 1
    assert frontier.loss_at(14 * TERA) == 3.0  # the cost of the whole way
    with pytest.raises(UserError, match=r"trunk: it is unfinished \(step 20 of 30\); resume it, or leave it out"):
        frontier_of(folder, trunk)


def test_a_chord_is_above_a_power_law_by_little(tmp_path: Path) -> None:
    """Losses of 2.8 + 1.1 (C / 10)^-0.15, whose slope is 0.1 for a factor of 2, as small models have."""

    def law(cost: float) -> float:
        return 2.8 + 1.1 * (cost / 10) ** -0.15

    for name, costs, most in (("close", (10, 14, 20), 0.0006), ("far", (10, 20, 40), 0.0024)):
        frontier = frontier_of(*[write_fixed(tmp_path / f"{name}{cost}", cost, law(cost)) for cost in costs])
        above = [
            (frontier.loss_at(sqrt(low * high) * TERA) or 0) - law(sqrt(low * high)) for low, high in pairwise(costs)
        ]
        assert all(most / 3 < error < most for error in above), above


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "apollo"}, "a frontier is of fixed models, and its method is apollo; name it as a RUN"),
        ({"growth_at": 10}, "the run that it goes on from did not run all layers in each step"),
        ({"start": {"source": "hf:gpt2"}}, "it starts from hf:gpt2, whose cost is not in its own"),
        ({"finished": False}, r"it is unfinished \(step 20 of 1,000\); resume it, or leave it out"),
        ({"lr_schedule": "constant"}, "its learning rate never falls, so its loss is no final one; branch off it"),
        ({"decay_fraction": 0.0}, "its learning rate never falls"),
        ({"final_lr_fraction": 1.0}, "its learning rate never falls"),
        ({"loss": None}, "it has no finite held-out loss at its last step"),
    ],
)
def test_what_is_no_fixed_model_at_its_end_is_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    run = write_fixed(tmp_path / "a", 10, changes.pop("loss", 4.0), **changes)
    with pytest.raises(UserError, match=f"^--frontier {run}: {expected}"):
        frontier_of(run)


def test_the_default_schedule_of_scratch_decays(tmp_path: Path) -> None:
    assert frontier_of(write_fixed(tmp_path / "a", 10, 4.0, lr_schedule=None)).lowest == 4.0


def test_one_recipe_with_one_seed_does_not_count_twice(tmp_path: Path) -> None:
    one, other = (write_fixed(tmp_path / name, 10, 4.0) for name in ("one", "other"))
    with pytest.raises(UserError, match=f"^{one} and {other} are the same recipe with the same seed, 1"):
        frontier_of(one, other)


@FEW
@given(st.lists(A_LINE, min_size=2, max_size=3), st.integers(10, 90))
def test_another_model_never_raises_the_frontier(lines: list[dict[int, float]], cost: int) -> None:
    with TemporaryDirectory() as folder:
        runs = write_lines(Path(folder), *lines)
        before, after = frontier_of(*runs[: -len(lines[-1])]), frontier_of(*runs)
    there = before.loss_at(cost * TERA)
    assert there is None or (after.loss_at(cost * TERA) or 9) <= there


@FEW
@given(st.lists(A_LINE, min_size=1, max_size=3), st.randoms())
def test_the_order_of_the_runs_does_not_matter(lines: list[dict[int, float]], random) -> None:
    with TemporaryDirectory() as folder:
        runs = write_lines(Path(folder), *lines)
        one = frontier_of(*runs)
        random.shuffle(runs)
        other = frontier_of(*runs)
    assert one == other


def test_a_frontier_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--frontier: names no run"):
        Frontier.of([])


def test_the_point_of_a_branch_does_not_say_where_its_trunk_lies(tmp_path: Path) -> None:
    runs = [
        write_fixed(tmp_path / str(seed), 10, 4.0, seed=seed, branch_from=point(tmp_path / f"trunk{seed}", 5))
        for seed in (1, 2)
    ]
    assert [len(model.points) for model in frontier_of(*runs).models] == [1]
