"""What could not be read in a figure of runs, however many there are, whatever they are called and did."""

from dataclasses import replace
from math import exp
from pathlib import Path

import pytest
from histories import write_run
from pictures import assert_readable

from apollo_ds.experiments.compare.figures import draw, draw_losses
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.measures import Target
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.training_figure import draw_training

LONG = "apollo,method.growth_map=duplicate_middle" * 3
MIXTURE = "scratch,data={'data/wikipedia-of-twenty-languages': 1.0, 'data/books-of-the-nineteenth-century': 2.5}"
FALLING = [(20 * part + 20, 2 + 5 * exp(-part)) for part in range(12)]
"""TFLOPs and losses of a curve that is steep at first, as curves of training are."""


def history(folder: Path, held_out: list[tuple[float, float | None]] = FALLING, **changes: object) -> RunHistory:
    return RunHistory.read(write_run(folder, held_out, "apollo", **changes))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("apollo,rate=#", 2),
        ("m" * 120, 1),
        (f"{LONG},rate=#", 2),
        (MIXTURE, 1),
        (f"{MIXTURE},rate=#", 8),
        ("apollo#", 8),
        (f"#{LONG}", 8),
        (f"#{'m' * 120}", 8),
        (f"{LONG * 7}#", 2),
    ],
)
def test_no_text_is_cut_or_covered(name: str, count: int, tmp_path: Path) -> None:
    run = history(tmp_path / "run", growth_at=10)
    groups = [Group(name.replace("#", str(number)), (run,)) for number in range(count)]
    figures = draw(groups, groups[0], Target.of(groups[0]))
    assert len(figures) == (4 if count == 1 else 5)
    for figure in figures.values():
        assert_readable(figure)


@pytest.mark.parametrize("held_out", [[(10, None)], [(10, None), (20, None)], [(10, 3.0)], [(10, 3.0), (20, None)]])
def test_runs_of_few_or_no_finite_losses_have_readable_figures(
    held_out: list[tuple[float, float | None]], tmp_path: Path
) -> None:
    run = history(tmp_path / "run", held_out, start={"unigram_entropy": 6.5})
    group = Group("apollo", (run,))
    for figure in [*draw([group], group, None).values(), draw_training(run, "apollo")]:
        assert_readable(figure)


def with_growths(run: RunHistory, steps: list[int], loss_after: float | None = None) -> Group:
    """The run with its one growth repeated at these steps."""
    (growth,) = run.growths
    losses = {} if loss_after is None else {"loss_after": loss_after}
    grown = [{**growth, "from": 2**i, "to": 2 ** (i + 1), "step": step} | losses for i, step in enumerate(steps)]
    run.growths[:] = grown
    return Group("apollo", (run,))


@pytest.mark.parametrize("steps", [[1], [29], [119], [1, 2, 3, 4, 5], [10, 20, 30, 40, 50], [115, 116, 117, 118, 119]])
def test_growths_are_named_and_no_name_covers_another(steps: list[int], tmp_path: Path) -> None:
    group = with_growths(history(tmp_path / "run", growth_at=10), steps)
    figures = draw([group], group, None)
    figures["training"] = draw_training(group.runs[0], "apollo")
    for figure in figures.values():
        assert_readable(figure)
    names = [text.get_text() for text in figures["loss_against_flops.png"].axes[0].texts]
    grown = [f"{2**i} → {2 ** (i + 1)}" for i in range(len(steps))]
    assert [name for name in names if "layers" in name] == [f"{name} layers" for name in grown]
    assert [text.get_text() for text in figures["training"].axes[0].texts][: len(steps)] == grown


def test_the_scale_shows_the_curve_and_not_what_lies_far_above_it(tmp_path: Path) -> None:
    group = with_growths(history(tmp_path / "run", growth_at=10, start={"unigram_entropy": 14.5}), [60], 12.25)
    figure = draw_losses([group], "flops", None)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert 1.5 < low < 2 and 2 + 5 * exp(-1) < high < 12
    assert "1 → 2 layers, to 12.250" in [text.get_text() for text in axes.texts]
    assert figure.get_supxlabel() == "unigram entropy 14.500, above what is shown"


def test_a_curve_of_few_evaluations_is_seen_from_its_first_growth_on(tmp_path: Path) -> None:
    """Two late evaluations that are near to each other would else be all that is shown of it."""
    group = with_growths(history(tmp_path / "run", [(10, 2.52), (100, 2.51), (110, 2.5)], growth_at=10), [1, 4])
    (axes,) = draw_losses([group], "flops", None).axes
    low, high = axes.get_ylim()
    assert low < 2.5 and high > 4.125
    assert [text.get_text() for text in axes.texts][-2:] == ["1 → 2 layers", "2 → 4 layers"]


def test_a_name_stands_beside_its_point_where_there_is_room(tmp_path: Path) -> None:
    """Also below the top of the axes, on a curve that falls steeply."""
    for held_out in (FALLING, [(20, 2.0)], [(20, 4.0), (40, 3.9), (200, 2.0)]):
        group = with_growths(history(tmp_path / str(len(held_out)), held_out, growth_at=5), [5])
        (axes,) = draw_losses([group], "tokens", None).axes
        (name,) = (text for text in axes.texts if "layers" in text.get_text())
        assert max(map(abs, name.get_position())) <= 28


def test_the_legend_of_growths_names_nothing_that_no_panel_shows(tmp_path: Path) -> None:
    group = with_growths(history(tmp_path / "run", growth_at=10), [60, 65])
    assert "held-out" in legend_of_growths(group)
    group.runs[0].growths[:] = group.runs[0].growths[1:]
    group.runs[0].evals[:] = group.runs[0].evals[-1:]
    assert legend_of_growths(Group("apollo", (replace(group.runs[0]),))) == [
        "training",
        "its running mean",
        "held-out before",
        "held-out after",
    ]


def legend_of_growths(group: Group) -> list[str]:
    (legend,) = draw([group], group, None)["loss_around_growth.png"].legends
    return [text.get_text() for text in legend.get_texts()]


def test_a_run_that_diverged_has_readable_figures_and_they_say_so(tmp_path: Path) -> None:
    """Its losses have many digits, and the last that can be drawn is not its end."""
    held_out = [(10, 4.0), (20, 1.1e11), (30, None)]
    group = with_growths(history(tmp_path / "run", held_out, growth_at=10), [10, 20], 1.2e11)
    figures = draw([group], group, None)
    for figure in figures.values():
        assert_readable(figure)
    (axes,) = figures["loss_against_flops.png"].axes
    assert "1.1e+11, then not finite" in [text.get_text() for text in axes.texts]
    panel = figures["loss_around_growth.png"].subfigs[0].axes[0]
    assert panel.get_title() == "1 → 2 layers\n4.062 → 1.2e+11 (+1.2e+11)"


def test_the_unigram_entropy_is_a_line_where_it_is_in_view(tmp_path: Path) -> None:
    group = Group("apollo", (history(tmp_path / "run", start={"unigram_entropy": 3.5}),))
    figure = draw_losses([group], "flops", None)
    assert "unigram entropy 3.500" in [text.get_text() for text in figure.axes[0].texts]
    assert not figure.get_supxlabel()


def test_lines_are_named_at_their_ends_in_their_order(tmp_path: Path) -> None:
    ends = {"low": 2.0, "high": 3.0, "middle": 2.5}
    groups = [
        Group(f"apollo,map={name}", (history(tmp_path / name, [(10, 5.0), (20, 4.0), (30, loss)]),))
        for name, loss in ends.items()
    ]
    figure = draw_losses(groups, "flops", None)
    (axes,) = figure.axes
    names = sorted(axes.texts, key=lambda text: -text.get_window_extent().y0)
    assert [text.get_text() for text in names] == ["map=high  3.000", "map=middle  2.500", "map=low  2.000"]
    assert figure.get_suptitle() == "apollo, gpt2 6x32, seed 7"


def test_the_baseline_s_loss_is_named_at_the_foot_where_no_curve_crosses_its_name(tmp_path: Path) -> None:
    groups = [Group(name, (history(tmp_path / name),)) for name in ("scratch", "apollo")]
    figure = draw_losses(groups, "flops", Target.of(groups[0]))
    assert figure.get_supxlabel() == "dotted: the baseline's final loss"


@pytest.mark.parametrize(
    ("change", "told"),
    [(0.0, "4.062 (unchanged)"), (0.0002, "4.063 (by < 0.001)"), (-0.0002, "4.062 (by < 0.001)")],
)
def test_the_losses_before_and_after_a_growth_stand_side_by_side(change: float, told: str, tmp_path: Path) -> None:
    group = with_growths(history(tmp_path / "run", growth_at=10), [60], 4.0625 + change)
    figure = draw([group], group, None)["loss_around_growth.png"]
    figure.draw_without_rendering()
    (axes,) = figure.subfigs[0].axes
    before, after = (
        next(line for line in axes.lines if line.get_label() == f"held-out {name}") for name in ("before", "after")
    )
    left, right = (line.get_window_extent() for line in (before, after))
    assert left.x1 <= right.x0 and left.y0 == pytest.approx(right.y0, abs=0.5)
    low, high = axes.get_ylim()
    assert low < 4.0625 < high  # though all training losses are 5
    assert axes.get_title() == f"1 → 2 layers\n4.062 → {told}"


@pytest.mark.parametrize(("depths", "named"), [((1, 3), ["1 layer", "3 layers"]), ((3,), ["3 layers"])])
def test_few_depths_have_a_colour_and_a_name_each(depths: tuple[int, ...], named: list[str], tmp_path: Path) -> None:
    run = history(tmp_path / "run")
    for number, step in enumerate(run.steps):
        step["depth"] = depths[number % len(depths)]
    (axes,) = draw_training(run, "apollo").axes
    assert [text.get_text() for text in axes.texts] == named
    points = [line.get_color() for line in axes.lines if line.get_linestyle() == "None"]
    assert len(points) == len(set(points)) == len(depths)


def test_many_depths_are_shades_with_whole_numbers(tmp_path: Path) -> None:
    run = history(tmp_path / "run")
    for number, step in enumerate(run.steps):
        step["depth"] = 3 + number % 10
    figure = draw_training(run, "apollo")
    figure.draw_without_rendering()
    _, bar = figure.axes
    shown = [label.get_text() for label in bar.get_yticklabels()]
    assert set(map(str, range(3, 13))) <= set(shown) and all(map(str.isdigit, shown))
    assert_readable(figure)


def test_steps_are_whole_numbers(tmp_path: Path) -> None:
    figure = draw_training(history(tmp_path / "run", [(10, 3.0)]), "apollo")
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert all(tick.isdigit() for tick in ticks) and len(set(ticks)) == len(ticks)
