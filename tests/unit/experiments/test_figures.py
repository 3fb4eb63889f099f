"""What could not be read in a figure of a comparison, however many runs with whatever names."""

from pathlib import Path

import pytest
from histories import write_run

from apollo_ds.experiments.compare.figures import draw
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.measures import Target
from apollo_ds.experiments.history import RunHistory

LONG = "apollo,method.growth_map=duplicate_middle" * 3


@pytest.mark.parametrize(
    ("name", "count"), [("apollo", 2), ("m" * 120, 1), (LONG, 2), (LONG[: len(LONG) // 3], 2), (LONG, 8), (LONG * 7, 2)]
)
def test_no_text_is_cut(name: str, count: int, tmp_path: Path) -> None:
    run = RunHistory.read(write_run(tmp_path / "run", [(40, 4.0), (80, 2.5), (90, 2.0)], "apollo", growth_at=10))
    groups = [Group(f"{name}{number}", (run,)) for number in range(count)]
    figures = draw(groups, groups[0], Target.of(groups[0]))
    assert len(figures) == (4 if count == 1 else 5)
    for file, figure in figures.items():
        figure.canvas.draw()
        whole = figure.get_tightbbox()
        assert whole.x0 >= 0 and whole.y0 >= 0, file
        assert whole.x1 <= figure.get_figwidth() and whole.y1 <= figure.get_figheight(), file
        for axes in figure.axes:
            if legend := axes.get_legend():
                assert axes.bbox.containsx(legend.get_window_extent().x0), file


@pytest.mark.parametrize("at", [1, 10, 25, 29])
def test_the_name_of_a_growth_stands_within_the_axes(at: int, tmp_path: Path) -> None:
    run = RunHistory.read(write_run(tmp_path / "run", [(2, 4.0), (80, 2.5), (90, 2.0)], "apollo", growth_at=at))
    groups = [Group("apollo", (run,))]
    figure = draw(groups, groups[0], Target.of(groups[0]))["loss_against_flops.png"]
    figure.canvas.draw()
    (axes,) = figure.axes
    (name,) = axes.texts
    assert axes.bbox.x0 <= name.get_window_extent().x0 and name.get_window_extent().x1 <= axes.bbox.x1
