"""What the best fixed model would have taken, where that one was not trained for long or briefly enough to tell."""

from pathlib import Path

import pytest
from fixed_models import frontier_of, groups_of, write_fixed
from histories import write_run

from apollo_ds.experiments.compare.distances import RecipeDistance, distances
from apollo_ds.experiments.compare.frontier import Frontier
from apollo_ds.experiments.compare.frontier_page import frontier_remarks

_FLATTERS = "The best fixed model there has no length that comes to just the recipe's loss"


def frontier(folder: Path, *lengths: tuple[int, int, float]) -> Frontier:
    """Fixed models, each length as layers, TFLOPs and loss."""
    return frontier_of(
        *(write_fixed(folder / f"{layers}-{cost}", cost, loss, layers) for layers, cost, loss in lengths)
    )


def distance_of(folder: Path, fixed: Frontier, cost: float, loss: float) -> tuple[RecipeDistance, bool]:
    """The distance of a recipe, and whether it is said that its saving flatters."""
    groups = groups_of(write_run(folder / "grown", [(cost / 2, 9.0), (cost, loss)], "apollo"))
    (found,) = distances(groups, fixed)
    return found, _FLATTERS in " ".join(frontier_remarks(groups, fixed))


SHORT_BEST = [(12, 10, 4.0), (12, 20, 3.0), (6, 10, 4.2), (6, 80, 2.8)]
CROSSING = [(6, 10, 3.8), (6, 40, 3.4), (12, 10, 4.0), (12, 80, 2.8)]


def test_a_bound_rests_on_the_best_model_there_and_not_on_the_longest(tmp_path: Path) -> None:
    found, _ = distance_of(tmp_path, frontier(tmp_path, *SHORT_BEST), 16, 2.7)
    assert found.saved and found.saved.is_bound
    assert found.saved.part == pytest.approx(0.2)  # of 20 TFLOPs; six layers come to 80, but would save nobody any


def test_no_bound_is_known_where_the_best_model_ends(tmp_path: Path) -> None:
    found, _ = distance_of(tmp_path, frontier(tmp_path, *SHORT_BEST), 20, 2.7)
    assert found.saved is None and found.loss


def test_no_bound_is_known_where_a_better_model_has_ended_before(tmp_path: Path) -> None:
    found, _ = distance_of(tmp_path, frontier(tmp_path, *SHORT_BEST), 40, 2.7)
    assert found.saved is None and found.is_dominated


def test_what_flatters_over_time_alone_is_named(tmp_path: Path) -> None:
    fixed = frontier(tmp_path, *SHORT_BEST)
    groups = groups_of(write_run(tmp_path / "grown", [(8, 9.0), (16, 3.1)], "apollo", speed=0.5))
    told = " ".join(frontier_remarks(groups, fixed))
    assert "Over time alone: a fixed model that cost less came lower" in told


def test_a_bound_follows_a_model_that_becomes_the_best_one(tmp_path: Path) -> None:
    found, _ = distance_of(tmp_path, frontier(tmp_path, *CROSSING), 16, 2.7)
    assert found.saved and found.saved.is_bound and found.saved.part == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("lengths", "cost", "loss", "flatters"),
    [
        (SHORT_BEST, 20, 2.9, True),  # 12 layers end at 3.0, and six come to it far later
        (SHORT_BEST, 16, 3.1, False),
        (CROSSING, 16, 3.0, False),  # six layers do not come to it, but 12 are lower before they end
        ([(6, 10, 4.0), (6, 40, 3.0), (12, 20, 3.0)], 20, 3.2, True),  # 12 layers begin at 3.0
        ([(6, 10, 4.0), (6, 40, 3.0), (12, 20, 3.0)], 16, 3.6, False),
    ],
)
def test_a_saving_against_another_model_than_the_best_is_named(
    lengths: list[tuple[int, int, float]], cost: float, loss: float, flatters: bool, tmp_path: Path
) -> None:
    found, is_named = distance_of(tmp_path, frontier(tmp_path, *lengths), cost, loss)
    assert found.saved and not found.saved.is_bound
    assert is_named is flatters


def test_what_holds_for_all_of_many_recipes_names_none_of_them(tmp_path: Path) -> None:
    fixed = frontier(tmp_path, *CROSSING)
    runs = [
        write_run(tmp_path / f"g{n}", [(8.0, 9.0), (16.0, 3.6)], "apollo", learning_rate=n / 1000) for n in range(4)
    ]
    few = "Of fewer than three seeds, so that a distance may be chance: "
    assert frontier_remarks(groups_of(*runs), fixed)[0] == f"{few}all 4."
    names = [group.name for group in groups_of(*runs[:3])]
    assert frontier_remarks(groups_of(*runs[:3]), fixed)[0] == few + " and ".join(names) + "."
