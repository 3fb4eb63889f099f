"""A forecast as people read it."""

import re
from io import StringIO

import pytest
from project import PROJECT
from rich.console import Console

from apollo_ds.config.load import load_recipe
from apollo_ds.planning.forecast import Machine, forecast
from apollo_ds.planning.forecast_table import print_forecast
from apollo_ds.planning.plan import plan

PATH = PROJECT / "launch" / "recipes" / "bert-base.yaml"
_MACHINE = Machine(64)


def printed(*words: str, width: int = 80, machine: Machine = _MACHINE) -> str:
    recipe, console = load_recipe(PATH, words), Console(width=width, file=StringIO())
    with console.capture() as captured:
        print_forecast(forecast(recipe, plan(recipe)["total"], machine), console)
    return captured.get()


@pytest.mark.parametrize(("width", "ranks"), [(40, 64), (80, 8), (80, 64), (80, 384), (200, 64)])
def test_no_line_is_wrapped_or_cut_in_80_columns(width: int, ranks: int) -> None:
    text = printed("peak_flops=9.9e14", width=width, machine=Machine(ranks))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_each_zero_stage_has_a_row_and_a_growth_its_columns() -> None:
    rows = re.findall(r"^ +([0-3]) +\S+ [GM]B.*$", printed(), flags=re.MULTILINE)
    assert rows == ["0", "1", "2", "3"]
    assert "growth" in printed().split("Computed")[0]
    assert "growth" not in printed("method=scratch").split("Computed")[0]


def test_ranks_that_share_samples_are_said() -> None:
    assert "samples at once by each 4 ranks, 8 ranks a node." in printed("sequence_parallel=4")


def test_what_the_figures_rest_on_is_said() -> None:
    text = " ".join(printed(machine=Machine(64, ranks_per_node=4, network=25e9, storage=5e9)).split())
    assert "12 samples at once, 4 ranks a node" in text
    assert "each rank sends 25 GB/s (--network), and all read 5 GB/s together (--storage)" in text
    assert "A checkpoint takes up to 1.3 GB" in text
