"""What could not be read in a figure of a comparison, however many runs with whatever names."""

from pathlib import Path

import pytest
from histories import write_run

from apollo_ds.experiments.compare.figures import draw
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.history import RunHistory


@pytest.mark.parametrize(("length", "shrinks"), [(10, False), (120, True)])
def test_a_legend_is_no_wider_than_its_figure(length: int, shrinks: bool, tmp_path: Path) -> None:
    run = RunHistory.read(write_run(tmp_path / "run", [(40, 4.0), (80, 2.5)]))
    groups = [Group(f"{letter}" * length, (run,)) for letter in "abcdef"]
    figure = draw(groups, groups[0], None)["loss_against_flops.png"]
    (legend,) = figure.legends
    figure.canvas.draw()
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= figure.bbox.width
    assert (legend.get_texts()[0].get_fontsize() < 8) == shrinks
