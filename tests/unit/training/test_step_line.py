"""Where a run stands, in a line of a terminal or of a log."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.training.step_line import WIDEST, Standing, columns, header

STANDING = Standing(
    step=1200,
    steps=20_000,
    stage=2,
    stages=3,
    depth=6,
    layers=12,
    loss=3.45678,
    grad_norm=0.5,
    learning_rate=1e-3,
    new_learning_rate=None,
    tokens_per_second=21_345.2,
    flops=2.27e13,
    share=0.661,
    seconds_left=754,
)
HUGE = replace(
    STANDING,
    step=1_200_000,
    steps=2_000_000,
    stages=12,
    stage=10,
    depth=95.75,
    layers=96,
    tokens_per_second=1.234e7,
    flops=1.234e21,
    seconds_left=12.3 * 86_400,
)


def test_the_line_that_changes() -> None:
    told = "step 1,200/20,000  stage 2/3  loss 3.4568  21,345 tok/s  0:12:34 left  saved 34%"
    assert STANDING.live(len(told)) == told


@pytest.mark.parametrize(
    ("width", "told"),
    [
        (WIDEST, "step 1,200/20,000  loss 3.4568  21,345 tok/s  0:12:34 left  saved 34%"),
        (60, "step 1,200/20,000  loss 3.4568  0:12:34 left  saved 34%"),
        (50, "step 1,200/20,000  loss 3.4568  0:12:34 left"),
        (31, "step 1,200/20,000  loss 3.4568"),
        (5, "step 1,200/20,000"),
    ],
)
def test_a_narrow_terminal_is_shown_what_matters_most(width: int, told: str) -> None:
    assert STANDING.live(width) == told


def test_a_run_of_millions_of_steps_fits_too() -> None:
    told = HUGE.live(WIDEST)
    assert told == "step 1,200,000/2,000,000  loss 3.4568  12.3 M tok/s  12 days left  saved 34%"
    assert HUGE.row(columns(WIDEST)) == ("1,200,000   95.8/96   3.4568  1.0e-03   12.3 M  1.23 ZFLOP     34%   12 days")


@given(
    steps=st.integers(1, 9_999_999),
    loss=st.floats(0, 99),
    speed=st.floats(0.01, 9.9e7),
    share=st.floats(0.001, 1e9),
    seconds=st.floats(0, inf),
    width=st.integers(30, 76),
)
def test_it_fits_at_any_sizes(steps: int, loss: float, speed: float, share: float, seconds: float, width: int) -> None:
    standing = replace(
        STANDING, step=steps, steps=steps, loss=loss, tokens_per_second=speed, share=share, seconds_left=seconds
    )
    assert len(standing.live(width)) <= width
    names = columns(width)
    assert len(header(names)) <= width
    assert len(standing.row(names)) <= width


def test_the_line_that_stays_stands_under_its_header() -> None:
    names = columns(WIDEST)
    assert header(names) == "     step    layers     loss       lr    tok/s        cost   saved      left"
    assert STANDING.row(names) == "    1,200      6/12   3.4568  1.0e-03   21,345  22.7 TFLOP     34%   0:12:34"
    assert len(header(names)) == WIDEST


def test_a_narrow_terminal_has_fewer_columns() -> None:
    assert columns(60) == ["step", "loss", "tok/s", "cost", "saved", "left"]


def test_the_line_of_a_log_names_all() -> None:
    assert STANDING.logged() == (
        "step 1,200/20,000  stage 2/3  layers 6/12  loss 3.4568  grad 0.50  lr 1.00e-03  21,345 tok/s  22.7 TFLOP  "
        "saved 34%  0:12:34 left"
    )


def test_the_rate_of_what_is_new_is_told_while_it_is_another() -> None:
    assert "lr 1.00e-03  lr of new parameters 1.30e-03  " in replace(STANDING, new_learning_rate=1.3e-3).logged()


@pytest.mark.parametrize(
    ("share", "line", "cell"),
    [
        (0.0, "saved 100%", "100%"),
        (0.996, "saved 0%", "0%"),
        (1.0, "saved 0%", "0%"),
        (1.004, "saved 0%", "0%"),
        (1.03, "cost +3%", "-3%"),
        (10.98, "cost +998%", "-998%"),
        (12.0, "cost >+999%", "<-999%"),
    ],
)
def test_what_is_saved_or_spent_above_all_layers(share: float, line: str, cell: str) -> None:
    standing = replace(STANDING, share=share)
    assert standing.live(100).endswith(f"  {line}")
    assert standing.row(["saved"]).strip() == cell


@pytest.mark.parametrize(
    ("seconds", "left"),
    [
        (0, "0:00:00"),
        (59.6, "0:01:00"),
        (86_400, "24:00:00"),
        (359_999, "99:59:59"),
        (360_000, "4 days"),
        (999.4 * 86_400, "999 days"),
        (1e30, ">2 years"),
        (inf, ">2 years"),
    ],
)
def test_the_time_that_is_left(seconds: float, left: str) -> None:
    assert f"  {left} left  " in replace(STANDING, seconds_left=seconds).live(100)


@pytest.mark.parametrize(("loss", "told"), [(nan, "nan"), (inf, "inf"), (123456.789, "1.23e+05"), (0.0, "0.0000")])
def test_a_loss_that_is_no_usual_one(loss: float, told: str) -> None:
    assert f"  loss {told}  " in replace(STANDING, loss=loss).live(100)


@pytest.mark.parametrize(
    ("speed", "told"), [(0.25, "0.25"), (9.7, "9.7"), (999_999, "999,999"), (999_999.7, "1 M"), (1.234e6, "1.23 M")]
)
def test_slow_and_fast_steps(speed: float, told: str) -> None:
    assert f"  {told} tok/s  " in replace(STANDING, tokens_per_second=speed).live(100)
