"""A forecast as people read it."""

import re
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project import PROJECT
from rich.console import Console

from apollo_ds.config.load import load_recipe
from apollo_ds.planning.forecast import Machine, forecast
from apollo_ds.planning.forecast_table import print_forecast, size_in_words, time_in_words
from apollo_ds.planning.plan import plan

PATH = PROJECT / "launch" / "recipes" / "bert-base.yaml"
_MACHINE = Machine(64)
_BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_SECONDS = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600}


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (999.9, "1.0 kB"), (81.26e9, "81.3 GB"), (999.6e6, "1.0 GB"), (397e9, "397 GB")],
)
def test_sizes(size: float, words: str) -> None:
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 ms"), (0.0123, "12 ms"), (0.9999, "1.0 s"), (119, "119.0 s"), (290, "4.8 min"), (8000, "2.2 h")],
)
def test_times(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words


@given(st.floats(1, 1e17))
def test_a_size_in_words_is_close_to_the_size(size: float) -> None:
    number, unit = size_in_words(size).split()
    assert float(number) * _BYTES[unit] == pytest.approx(size, rel=0.51)
    assert unit == "B" or float(number) * _BYTES[unit] == pytest.approx(size, rel=0.051)


@given(st.floats(1e-3, 1e8))
def test_a_time_in_words_is_close_to_the_time(seconds: float) -> None:
    number, unit = time_in_words(seconds).split()
    assert float(number) * _SECONDS[unit] == pytest.approx(seconds, rel=0.051)


def printed(*words: str, width: int = 80, machine: Machine = _MACHINE) -> str:
    recipe, console = load_recipe(PATH, words), Console(width=width, file=StringIO())
    with console.capture() as captured:
        print_forecast(forecast(recipe, plan(recipe)["total"], machine), console)
    return captured.get()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wrapped_or_cut_in_80_columns(width: int) -> None:
    text = printed(width=width)
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
