"""Where a loss curve reaches a loss, and what it is at a cost."""

import json
from collections.abc import Iterator
from itertools import pairwise
from math import inf
from pathlib import Path

import pytest
import xxhash
from histories import TERA, write_run
from hypothesis import given
from hypothesis import strategies as st
from small_checkpoints import checkpoint

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.page import sections
from apollo_ds.experiments.history import Cost, Curve, Evaluation, RunHistory, cost_to_reach, loss_at


def curve(*points: tuple[float, float]) -> Curve:
    """Evaluations from (FLOPs, loss); a token each tenth of a FLOP, two seconds each FLOP."""
    return [Evaluation(n, Cost(flops, 10 * flops, 2 * flops), loss) for n, (flops, loss) in enumerate(points)]


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Any evaluations whose cost rises."""
    costs = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=8, unique=True))
    losses = draw(st.lists(st.floats(0.5, 10), min_size=len(costs), max_size=len(costs)))
    return curve(*zip(map(float, sorted(costs)), losses, strict=True))


@pytest.mark.parametrize(
    ("points", "flops"),
    [
        ([(20, 3.0), (40, 2.5), (60, 1.5)], 50),  # in a straight line between two evaluations
        ([(20, 3.0), (80, 2.0), (120, 1.0)], 80),
        ([(25, 1.0)], 25),  # the first evaluation is all that is known
        ([(30, 2.25), (40, 3.0), (60, 1.0)], 50),  # after a rise
        ([(30, 3.0), (40, 1.0), (60, 2.5)], 35),  # the first time counts
        ([(30, inf), (40, 1.0)], 40),  # there is no line from a loss that is not finite
        ([(40, 3.0), (80, 2.125), (90, 2.5)], None),
    ],
)
def test_a_loss_is_reached_where_the_line_to_the_first_evaluation_below_it_crosses_it(
    points: list[tuple[float, float]], flops: float | None
) -> None:
    expected = None if flops is None else Cost(flops, 10 * flops, 2 * flops)
    assert cost_to_reach(curve(*points), 2.0) == expected


@given(curves(), st.floats(0.5, 10))
def test_a_loss_is_reached_if_and_only_if_an_evaluation_is_at_or_below_it(points: Curve, loss: float) -> None:
    cost = cost_to_reach(points, loss)
    assert (cost is None) == (min(point.loss for point in points) > loss)
    if cost is not None:
        first = next(point for point in points if point.loss <= loss)
        assert points[0].cost.flops <= cost.flops <= first.cost.flops
        assert cost.tokens == pytest.approx(10 * cost.flops)


@given(curves(), st.floats(0.5, 10), st.floats(0.5, 10))
def test_a_lower_loss_never_costs_less(points: Curve, one: float, other: float) -> None:
    easy, hard = (cost_to_reach(points, loss) for loss in (max(one, other), min(one, other)))
    if hard is not None:
        assert easy is not None
        assert easy.flops <= hard.flops * (1 + 1e-9)


@given(curves(), st.floats(0, 1))
def test_the_loss_at_a_cost_lies_between_its_neighbours(points: Curve, part: float) -> None:
    for before, after in pairwise(points):
        flops = before.cost.flops + part * (after.cost.flops - before.cost.flops)
        found = loss_at(points, flops)
        assert found is not None
        assert min(before.loss, after.loss) - 1e-9 <= found <= max(before.loss, after.loss) + 1e-9
    for point in points:
        assert loss_at(points, point.cost.flops) == pytest.approx(point.loss)
    assert loss_at(points, points[0].cost.flops - 1) is None
    assert loss_at(points, points[-1].cost.flops + 1) is None


def test_the_loss_beside_one_that_is_not_finite_is_not_finite() -> None:
    assert loss_at(curve((10, 3.0), (20, inf)), 15) == inf


def test_a_run_folder_is_read(tmp_path: Path) -> None:
    run = RunHistory.read(write_run(tmp_path / "run", [(10, 4.5), (50, None)], growth_at=10, seed=3))
    assert (run.seed, run.state, run.source) == (3, "finished", None)
    assert run.curve == [
        Evaluation(10, Cost(10 * TERA, 1000, 10), 4.5),
        Evaluation(20, Cost(50 * TERA, 2000, 50), inf),
    ]
    assert run.cost_at(15) == Cost(30 * TERA, 1500, 30)


def test_a_run_that_goes_on_is_unfinished(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [(10, 4.5)], finished=False, steps=40)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "eval", "step": 30, "fl')
    assert RunHistory.read(folder).state == "unfinished (step 10 of 40)"


@pytest.mark.parametrize("content", [None, "", "recipe: [1\n", "recipe: {}\n"])
def test_a_run_without_its_recipe_is_named(content: str | None, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [(10, 4.5)])
    (folder / "config.yaml").unlink()
    if content is not None:
        (folder / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml: missing, damaged"):
        RunHistory.read(folder)


def _damages() -> Iterator[bytes]:
    """Lines of metrics.jsonl that are JSON, and are nothing that a run records."""
    lines = [b"[]", b"7", b"null", b"{}", b'{"event": 3}', b'{"event": "eval", "step": 11, "loss": 1, "flops": 1}']
    step = {"event": "step", "step": 11, "stage": 0, "unique_layers": 1, "depth": 1, "loss": 2.0}
    step |= {"tokens": 2000, "flops": 11e12, "seconds": 11.0}
    for key in step:
        lines += [json.dumps({**step, key: value}).encode() for value in ([], "x", -1, True, 0, float("nan"))]
        lines.append(json.dumps({name: value for name, value in step.items() if name != key}).encode())
    harmless = ({**step, "loss": -1}, {**step, "loss": 0}, {**step, "stage": 0}, {**step, "depth": 0})
    yield from (line for line in lines if line not in [json.dumps(one).encode() for one in harmless])


def test_a_line_that_no_run_records_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [(10, 4.5)], finished=False) / "metrics.jsonl"
    sound = path.read_bytes()
    number = sound.count(b"\n") + 1
    for damage in _damages():
        path.write_bytes(sound + damage + b"\n")
        if b'"event": "x"' in damage:  # of a kind that a later version may record
            continue
        with pytest.raises(UserError) as caught:
            RunHistory.read(path.parent)
        assert str(caught.value).startswith(f"{path}: line {number} is damaged; "), damage


def test_flipped_bits_are_named_or_can_be_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(20, 3.0), (60, 1.0), (90, 2.5)], "apollo", growth_at=10)
    other = write_run(tmp_path / "other", [(40, 3.0), (100, 2.0)])
    named = 0
    for path in (run / "metrics.jsonl", run / "config.yaml"):
        sound = path.read_bytes()
        for at in range(3, 8 * len(sound), len(sound) // 20 | 1):
            damaged = bytearray(sound)
            damaged[at // 8] ^= 1 << at % 8
            path.write_bytes(damaged)
            try:
                sections(Comparison.of([other, run], tuned=True))
            except UserError as error:
                named += "\n" not in str(error)
        path.write_bytes(sound)
    assert named > 100


def test_metrics_that_were_changed_since_the_run_saved_are_not_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [(10, 4.5)])
    metrics = folder / "metrics.jsonl"
    recorded = metrics.read_bytes()
    known = {"metrics_bytes": len(recorded), "metrics_hash": xxhash.xxh3_128_hexdigest(recorded)}
    checkpoint(folder / "checkpoints", 10, **known)
    (folder / "checkpoints" / "step-20").mkdir()
    RunHistory.read(folder)
    metrics.write_bytes(recorded + b'{"event": "end"}\n')
    RunHistory.read(folder)
    metrics.write_bytes(recorded.replace(b"4.5", b"3.5"))
    with pytest.raises(UserError, match=r"metrics\.jsonl: differs from what the run had recorded at step 10"):
        RunHistory.read(folder)
