"""Recipes against the best fixed model: distances, savings, and what the page says of them."""

from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from comparisons import row
from fixed_models import frontier_of, groups_of, sizes, write_fixed
from histories import TERA, rows, write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from apollo_ds.__main__ import main
from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.distances import RecipeDistance, distances
from apollo_ds.experiments.compare.frontier_figure import draw_frontier
from apollo_ds.experiments.compare.frontier_page import frontier_remarks
from apollo_ds.experiments.compare.page import print_comparison, sections, write_page


def write_frontier(folder: Path, seeds: tuple[int, ...] = (1,), scale: float = 1.0) -> list[Path]:
    """Six layers: 4.0 at 10 TFLOPs, 3.0 at 40, and a tenth more for each seed after the first."""
    return [
        write_fixed(folder / f"f{cost}-{seed}", cost * scale, loss + (seed - 1) / 10, seed=seed, steps=100 * cost)
        for cost, loss in ((10, 4.0), (40, 3.0))
        for seed in seeds
    ]


def write_recipe(folder: Path, cost: float, loss: float, seed: int = 1, **changes: object) -> Path:
    """A run of a method that grows."""
    return write_run(folder, [(cost / 2, 9.0), (cost, loss)], "apollo", seed=seed, **changes)  # type: ignore[arg-type]


def distance_of(fixed: list[Path], *runs: Path) -> RecipeDistance:
    (found,) = distances(groups_of(*runs), frontier_of(*fixed))
    return found


def text_of(fixed: list[Path], *runs: Path) -> str:
    return "\n".join(sections(Comparison.of(runs, frontier=fixed)))


def table_row(fixed: list[Path], *runs: Path) -> dict[str, str]:
    return row(text_of(fixed, *runs), "operations saved", "apollo")


def test_distances_in_loss_and_in_operations(tmp_path: Path) -> None:
    found = table_row(write_frontier(tmp_path), write_recipe(tmp_path / "a", 20, 3.25, speed=2))
    assert found == {
        "recipe": "apollo",
        "seeds": "1",
        "final held-out loss": "3.2500",
        "FLOPs": "2e+13",
        "best fixed model there": "6 layers",
        "distance in loss": "-0.2500",
        "seeds below": "1 of 1",
        "operations saved": "29.3%",  # 3.25 is reached at 28.3 TFLOPs
        "seconds": "10",
        "distance at its time": "-0.7500",
        "time saved": "64.6%",
    }


@pytest.mark.parametrize(
    ("cost", "loss", "distance", "saved"),
    [
        (20, 3.5, "0.0000", "0.0%"),
        (40, 3.5, "+0.5000", "-100.0%"),
        (20, 2.9, "-0.6000", "more than 50.0%"),
        (40, 2.9, "-0.1000", "-"),
        (20, 4.1, "+0.6000", "-"),
        (50, 3.5, "outside (1e+13 to 4e+13)", "-"),
        (5, 3.5, "outside (1e+13 to 4e+13)", "-"),
    ],
)
def test_what_is_not_known_is_no_number(cost: float, loss: float, distance: str, saved: str, tmp_path: Path) -> None:
    found = table_row(write_frontier(tmp_path), write_recipe(tmp_path / "a", cost, loss))
    assert (found["distance in loss"], found["operations saved"]) == (distance, saved)


def test_a_run_is_compared_with_fixed_models_of_its_seed(tmp_path: Path) -> None:
    runs = [write_recipe(tmp_path / f"a{seed}", 20, 3.4 + (seed - 1) / 10, seed) for seed in (1, 2)]
    fixed = write_frontier(tmp_path, (1, 2))
    found = distance_of(fixed, *runs)
    assert found.is_paired
    assert [run.loss for run in found.runs] == pytest.approx([-0.1, -0.1])  # the seed's own tenth is in both
    unpaired = [*runs, write_recipe(tmp_path / "a3", 20, 3.6, seed=3)]
    found = distance_of(fixed, *unpaired)
    assert not found.is_paired
    assert [run.loss for run in found.runs] == pytest.approx([-0.15, -0.05, 0.05])
    assert "because its best model there was not trained with each seed of the recipe: apollo." in text_of(
        fixed, *unpaired
    )


def test_a_seed_without_the_best_model_is_not_compared_with_a_worse_one(tmp_path: Path) -> None:
    fixed = write_frontier(tmp_path, (1, 2))
    fixed += [write_fixed(tmp_path / f"best{cost}", cost, loss, 3) for cost, loss in ((10, 3.0), (40, 2.0))]
    found = distance_of(fixed, *[write_recipe(tmp_path / f"a{seed}", 20, 3.5, seed) for seed in (1, 2)])
    assert not found.is_paired
    assert [run.loss for run in found.runs] == pytest.approx([1.0, 1.0])
    assert found.best is not None and found.best.name == "3 layers"


def test_a_seed_without_the_lengths_around_a_cost_is_not_compared_with_a_longer_chord(tmp_path: Path) -> None:
    fixed = write_frontier(tmp_path, (1, 2))
    between = [write_fixed(tmp_path / f"b{seed}", 25, 3.2, seed=seed) for seed in (1, 2)]
    runs = [write_recipe(tmp_path / f"a{seed}", 20, 3.5, seed) for seed in (1, 2)]
    assert not distance_of([*fixed, between[0]], *runs).is_paired
    assert distance_of([*fixed, *between], *runs).is_paired
    longer = [write_recipe(tmp_path / f"l{seed}", 25.2, 3.5, seed) for seed in (1, 2)]  # beside a length of both
    assert distance_of([*fixed, *between], *longer).is_paired


def test_each_seed_is_measured_at_its_own_cost(tmp_path: Path) -> None:
    runs = [write_recipe(tmp_path / f"a{cost}", cost, 3.5, seed) for seed, cost in ((1, 10), (2, 20))]
    found = distance_of(write_frontier(tmp_path), *runs)
    assert [run.loss for run in found.runs] == pytest.approx([-0.5, 0.0])
    assert found.saved is not None and found.saved.part == pytest.approx(0.25)
    outside = write_recipe(tmp_path / "a3", 50, 3.5, seed=3)
    assert distance_of(write_frontier(tmp_path / "again"), *runs, outside).runs == ()


def test_a_source_counts_if_its_cost_is_known(tmp_path: Path) -> None:
    spent = {"source": "runs/small", "source_flops": 10 * TERA, "source_tokens": 500, "source_seconds": 10.0}
    fixed = write_frontier(tmp_path)
    known = write_recipe(tmp_path / "a", 10, 3.5, start=spent)
    assert table_row(fixed, known)["operations saved"] == "0.0%"
    assert "With the cost of the model that it starts from: apollo." in text_of(fixed, known)
    unknown = write_recipe(tmp_path / "b", 10, 3.5, start={"source": "hf:gpt2"})
    assert table_row(fixed, unknown)["distance in loss"] == "cost not known"


def test_an_unfinished_run_has_no_distance(tmp_path: Path) -> None:
    found = table_row(write_frontier(tmp_path), write_recipe(tmp_path / "a", 20, 3.5, finished=False))
    assert (found["distance in loss"], found["operations saved"]) == ("not yet", "-")


def test_a_recipe_that_diverged_has_no_distance_and_no_point(tmp_path: Path) -> None:
    fixed, run = write_frontier(tmp_path), write_run(tmp_path / "a", [(10, 9.0), (20, None)], "apollo", seed=1)
    found = table_row(fixed, run)
    assert (found["distance in loss"], found["operations saved"]) == ("-", "-")
    figure = draw_frontier(frontier_of(*fixed), groups_of(run))
    assert not any("apollo" in text.get_text() for axes in figure.axes for text in axes.texts)


def test_what_may_be_chance_is_said(tmp_path: Path) -> None:
    fixed = frontier_of(*write_frontier(tmp_path))
    groups = groups_of(*[write_recipe(tmp_path / f"a{seed}", 20, 3.3 + seed / 10, seed) for seed in (1, 2, 3)])
    (first, *_) = frontier_remarks(groups, fixed)
    assert first == (
        "No further from the frontier than its seeds are from each other, so that nothing follows: apollo."
    )
    (first, *_) = frontier_remarks(groups_of(write_recipe(tmp_path / "b", 20, 3.4)), fixed)
    assert first == "Of fewer than three seeds, so that a distance may be chance: apollo."


@pytest.mark.parametrize(("entropy", "is_said"), [(3.5, True), (3.6, False)])
def test_a_loss_that_a_guess_has_is_said_to_be_none(entropy: float, is_said: bool, tmp_path: Path) -> None:
    groups = groups_of(write_recipe(tmp_path / "a", 20, 3.5, start={"unigram_entropy": entropy}))
    remarks = frontier_remarks(groups, frontier_of(*write_frontier(tmp_path)))
    assert any(remark.startswith("Not below the unigram entropy") for remark in remarks) == is_said


def test_a_line_that_ends_too_early_is_said_to(tmp_path: Path) -> None:
    fixed = write_frontier(tmp_path) + [
        write_fixed(tmp_path / f"w{cost}", cost, loss, 12) for cost, loss in ((30, 3.9), (60, 3.2))
    ]
    flattering = "so the distance in loss looks better than it is; train that model for longer: apollo."
    assert flattering in text_of(fixed, write_recipe(tmp_path / "late", 45, 3.4))
    assert flattering not in text_of(fixed, write_recipe(tmp_path / "early", 35, 3.4))


def test_a_fixed_model_may_be_a_recipe_too_and_folders_may_be_named_twice(tmp_path: Path) -> None:
    fixed = write_frontier(tmp_path)
    text = text_of([*fixed, fixed[0]], *fixed)
    for found in rows(text, "operations saved"):
        assert (found["distance in loss"], found["operations saved"], found["seeds below"]) == (
            "0.0000",
            "0.0%",
            "0 of 1",
        )


POINTS = st.dictionaries(st.integers(10, 90), st.floats(1, 8), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(POINTS, st.integers(10, 90), st.floats(1, 8), st.sampled_from([0.25, 4.0]))
def test_savings_do_not_depend_on_the_unit_of_cost(
    line: dict[int, float], cost: int, loss: float, scale: float
) -> None:
    found = []
    with TemporaryDirectory() as folder:
        for factor in (1.0, scale):
            there = Path(folder) / str(factor)
            fixed = [write_fixed(there / f"{at}", at * factor, end, steps=at) for at, end in line.items()]
            found.append(distance_of(fixed, write_recipe(there / "a", cost * factor, loss)))
    one, other = found
    assert [run.loss for run in one.runs] == pytest.approx([run.loss for run in other.runs])
    assert (one.saved is None) == (other.saved is None)
    assert one.saved is None or (other.saved and one.saved.part == pytest.approx(other.saved.part, abs=1e-6))


def test_recipes_of_other_sizes_stand_side_by_side_against_a_frontier_alone(tmp_path: Path) -> None:
    runs = [
        write_recipe(tmp_path / "a", 20, 3.5),
        write_recipe(tmp_path / "b", 20, 3.5, seed=2, model=sizes(12)),
    ]
    fixed = write_frontier(tmp_path)
    text = "\n".join(sections(comparison := Comparison.of(runs, frontier=fixed)))
    assert "## Against the best fixed model" in text
    assert "baseline" not in text
    assert "Recipes train models of different sizes, so they are compared with fixed models alone." in text
    console = Console(record=True, file=StringIO())
    print_comparison(comparison, console)
    assert "Against the best fixed model:" in (printed := console.export_text())
    assert "baseline" not in printed
    with pytest.raises(UserError, match=r"model\.num_layers is 12, not 6"):
        Comparison.of(runs)


def test_of_one_model_the_other_measures_stay_under_their_own_names(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "s", [(10, 4.0), (20, 3.5)]), write_recipe(tmp_path / "a", 20, 3.4)]
    headings = [line for line in text_of(write_frontier(tmp_path), *runs).splitlines() if line.startswith("## Ag")]
    assert headings == [
        "## Against the best fixed model",
        "## Against one baseline, at its final loss",
        "## Against one baseline, at equal FLOPs",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seq_len": 64}, "seq_len is 64, not 32"),
        ({"model": sizes(6, vocab_size=400)}, "model.vocab_size is 400, not 300"),
        ({"model": sizes(6, family="bert")}, "model.family is bert, not gpt2"),
        ({"config": {"held_out": "2c"}}, "the held-out text is another, though both were of data/docs.*"),
    ],
)
def test_a_fixed_model_s_loss_must_be_of_the_same_thing(
    changes: dict[str, object], expected: str, tmp_path: Path
) -> None:
    recipe, fixed = write_recipe(tmp_path / "a", 20, 3.5), write_fixed(tmp_path / "f", 20, 3.5, **changes)
    with pytest.raises(UserError, match=f"^{fixed} cannot be compared with {recipe}: {expected}$"):
        Comparison.of([recipe], frontier=[fixed])


def test_the_points_of_the_frontier_are_listed(tmp_path: Path) -> None:
    first, second = rows(
        text_of(write_frontier(tmp_path, (1, 2)), write_recipe(tmp_path / "a", 20, 3.5)), "on the frontier"
    )
    assert first == {
        "fixed model": "6 layers",
        "steps": "1,000",
        "seeds": "1, 2",
        "final held-out loss": "4.0500 ± 0.0707",
        "FLOPs": "1e+13",
        "tokens": "2,000",
        "tokens a parameter": first["tokens a parameter"],
        "seconds": "10",
        "on the frontier": "yes",
    }
    assert float(first["tokens a parameter"]) < 0.1
    assert second["steps"] == "4,000"


def test_the_command_takes_a_frontier_and_the_page_has_its_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_recipe(tmp_path / "a", 20, 3.25)
    fixed = [str(folder) for folder in write_frontier(tmp_path)]
    main(["compare", str(run), "--frontier", *fixed, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "Against the best fixed model:" in printed
    assert "29.3%" in printed
    assert "(frontier.png)" in (tmp_path / "out" / "compare.md").read_text()
    assert {path.suffix for path in (tmp_path / "out").glob("frontier.*")} == {".png", ".pdf"}
    write_page(Comparison.of([run]), tmp_path / "other")
    assert not list((tmp_path / "other").glob("frontier.*"))


def test_the_figure_shows_recipes_and_their_distance(tmp_path: Path) -> None:
    fixed = frontier_of(*write_frontier(tmp_path), write_fixed(tmp_path / "point", 90, 2.0, 12))
    runs = [write_recipe(tmp_path / f"a{seed}", 20, 3.4 + seed / 100, seed) for seed in (1, 2)]
    figure = draw_frontier(fixed, groups_of(*runs, write_recipe(tmp_path / "b", 20, 9.0, seed=3, finished=False)))
    losses, below = figure.axes
    (low, high), (bottom, top) = losses.get_xlim(), below.get_ylim()
    assert losses.get_xscale() == "log"
    assert (low, high) == pytest.approx((12.5, 32))
    assert bottom == -top and 0.085 < top < 0.11
    assert [text.get_text() for text in losses.texts] == ["6 layers"]
    assert [text.get_text() for text in below.texts] == ["apollo  \u22120.085"]
