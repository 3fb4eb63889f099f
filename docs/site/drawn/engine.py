"""docs/concepts/engine.png: what a rank holds while a growth streams through it, one tensor after another."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from matplotlib.figure import Figure

from apollo_ds import load_recipe
from apollo_ds.engine import layout, restore
from apollo_ds.growth.counters import MOMENTS, WEIGHT, Counters
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.transition import growth_into
from apollo_ds.growth.weights_and_moments import StateMap
from data_prep.figure_style import COLOURS, INK, SMALL, WIDTH, darker, empty_figure, style_axes
from drawn.cells import colour_of

WORDS = ("method.name=apollo", "method.layers=[6,12]", "method.grow_at=[0.5]")
_RECORD = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "growth.json"
_RANKS = 2
_BYTES = 4
_TENSORS = (WEIGHT, *MOMENTS)


class _State:
    """A training state without values, which notes what a rank holds as it is gathered and released."""

    def __init__(self, shapes: dict[str, torch.Size]) -> None:
        self.counters = Counters(500)
        self.shapes = shapes
        self.held = sum(_share(shape.numel()) for shape in shapes.values()) * len(_TENSORS)
        self.written = 0
        self.trace: list[tuple[int, int, int]] = []
        """Bytes of old slices that are left, of a whole tensor in hand, and of new slices, at each that is gathered."""

    def names(self) -> Iterator[str]:
        """See `growth.state.State`."""
        return iter(self.shapes)

    def gather(self, name: str, tensor: str, device: torch.device) -> torch.Tensor:
        """See `growth.state.State`."""
        self.trace.append((self.held, self.shapes[name].numel() * _BYTES, self.written))
        return torch.empty(self.shapes[name], device=device)

    def release(self, name: str, tensor: str) -> None:
        """See `growth.state.State`."""
        self.held -= _share(self.shapes[name].numel())


def _share(elements: int) -> int:
    return elements * _BYTES // _RANKS


@dataclass(frozen=True)
class _Watched:
    """A growth that tells a state what it has made."""

    growth: StateMap
    state: _State

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """See `StateMap`."""
        return self.growth.sources(name, exists)

    def counters(self, old: Counters) -> Counters:
        """See `StateMap`."""
        return self.growth.counters(old)

    def apply(self, name: str, tensor: str, old: dict[str, torch.Tensor], counters: Counters) -> torch.Tensor | None:
        """See `StateMap`."""
        new = self.growth.apply(name, tensor, old, counters)
        if new is not None:
            self.state.written += _share(new.numel())
        return new


def facts() -> dict[str, Any]:
    """The order in which `restore.grow` takes BERT-base from 6 to 12 layers, and what was measured of that growth."""
    schedule = load_recipe("bert-base", WORDS).schedule()
    old, new = (
        {name: parameter.shape for name, parameter in build_for(stage).named_parameters()} for stage in schedule.stages
    )
    state = _State(old)
    growth = growth_into(schedule.stages[1], schedule.stages[0], seed=0)
    restore.grow(_engine(new), state, _Watched(growth, state))  # type: ignore[arg-type]
    measured = json.loads(_RECORD.read_text())["bert-base"]
    return {
        "megabytes": [
            [round(part / 1e6, 1) for part in parts] for parts in [*state.trace, (state.held, 0, state.written)]
        ],
        "measured": {name: round(found["peak_extra"] / 1e6) for name, found in measured.items()},
        "shard": round(measured["streaming"]["shard_bytes"] / 1e6),
    }


def _engine(shapes: dict[str, torch.Size]) -> Any:
    """What `restore.grow` needs of an engine, without memory for the parameters."""

    def slices() -> Iterator[tuple[str, tuple[int, ...], layout.OwnedSlice]]:
        for name, shape in shapes.items():
            nothing = torch.empty(shape.numel() // _RANKS, device="meta")
            yield name, tuple(shape), layout.OwnedSlice(0, dict.fromkeys(_TENSORS, nothing))

    return SimpleNamespace(
        slices=slices,
        frozen_parameters={},
        processes=SimpleNamespace(device=torch.device("meta")),
        set_counters=lambda counters: None,
        start_from_restored=lambda: None,
    )


def draw(drawn: dict[str, Any]) -> Figure:
    """What is held against what has been gathered, and the memory that was measured."""
    figure = empty_figure(WIDTH, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1.5))
    style_axes(left)
    style_axes(right)
    old, whole, new = zip(*drawn["megabytes"], strict=True)
    colours = [colour_of(number) for number in (1, 2, 0)]
    left.stackplot(new, old, new, whole, colors=colours, step="post")
    left.text(0.1 * new[-1], 0.4 * old[0], "old slices, released as they are read", fontsize=SMALL, color=INK)
    left.text(0.6 * new[-1], 0.95 * old[0], "new slices", fontsize=SMALL, color=INK)
    left.text(0.3 * new[-1], 1.6 * old[0], "one whole tensor in hand", fontsize=SMALL, color=darker(COLOURS[1]))
    left.set(xlabel="new slices that are written (MB)", ylabel="held on a rank (MB)")
    left.set(xlim=(0, new[-1]), ylim=(0, None))
    for place, extra in enumerate(drawn["measured"].values()):
        right.bar(place, extra, 0.6, color=colour_of(place))
        right.text(place, extra / 2, f"{extra:,} MB", fontsize=SMALL, color=INK, ha="center")
    right.axhline(drawn["shard"], color=INK, linewidth=0.8, linestyle="--")
    right.text(-0.45, drawn["shard"] + 20, f"a shard: {drawn['shard']} MB", fontsize=SMALL, color=INK)
    names = [name.replace(" ", "\n") for name in drawn["measured"]]
    right.set(xticks=range(len(names)), xlim=(-0.5, 1.5), ylabel="measured extra memory of a rank (MB)")
    right.set_xticklabels(names)
    right.grid(axis="x", visible=False)
    return figure
