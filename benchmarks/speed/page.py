"""The page and the picture of throughput.json."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from apollo_ds.experiments.line_labels import Label, label_ends
from data_prep.figure_style import GREY, empty_figure, line_style, save_picture, style_axes
from speed.settings import SETTINGS
from speed.whole_schedule import savings

Results = dict[str, Any]


def write(results: dict[str, Results], folder: Path) -> None:
    """Write throughput.md and throughput.png from what has been measured of each setting."""
    lines = []
    for name, measured in results.items():
        schedule = partial(_schedule, peak=measured.get("peak", {}).get("flops"))
        parts: dict[str, Callable[[Results], list[str]]] = {"against": _against, "depth": _depth, "schedule": schedule}
        parts |= {"ranks": _ranks, "shallow": _shallow, "optimizers": _optimizers}
        parts |= {"pieces": _pieces, "profile": _profile}
        lines += [f"## {name}", "", _described(name, measured["precision"]), ""]
        for part in filter(measured.get, parts):
            lines += [*parts[part](measured[part]), ""]
    (folder / "throughput.md").write_text("\n".join(lines))
    _draw(results, folder / "throughput.png")


def _described(name: str, precision: str) -> str:
    setting = SETTINGS[name]
    shape, compiled = setting.shape, ", each layer compiled" if setting.compile_blocks else ""
    return (
        f"{shape.family}, {shape.num_layers} layers, hidden {shape.hidden_size}, vocabulary {shape.vocab_size:,}; "
        f"{setting.samples} x {setting.seq_len} tokens a step, in {precision}{compiled}."
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _against(found: Results) -> list[str]:
    contestants = list(next(iter(found.values())))
    rows = [
        [
            layers,
            " / ".join(str(loops[name]["rounds"]) for name in contestants),
            *(f"{loops[name]['tokens_per_second']:,.0f} ({loops[name]['ours_times_as_fast']:.2f})" for name in loops),
        ]
        for layers, loops in found.items()
    ]
    return [
        "Tokens a second, medians of rounds of two steps, and in brackets how many times as fast apollo_ds is (medians "
        "of each round's ratio):",
        "",
        *_table(["layers", "rounds", *contestants], rows),
    ]


def _depth(found: Results) -> list[str]:
    rows = [
        [way, f"{line['a'] * 1000:.1f} ms", f"{line['b'] * 1000:.2f} ms", f"{line['greatest_distance']:.1%}"]
        for way, line in found["lines"].items()
    ]
    ratios = {key: "{:.3f} ({:.3f} to {:.3f})".format(*of) for key, of in found["drawn_over_fixed"].items()}
    where = ", on one core" if found["threads"] == 1 else ""
    return [
        f"Step time at depths 1 to {len(found['seconds']['drawn'])} as a + b x depth, {found['samples']} samples a "
        f"step{where}; medians of {found['rounds']} rounds, of a sixth of them where compiled; a drawn step as so many "
        "times the fixed one beside it. Drawn over fixed, "
        f"with 95% intervals by resampling rounds: a step {ratios['step']}, the mean over depths, a {ratios['a']}, b "
        f"{ratios['b']}. Graphs compiled after the warm-up: {found['compiled_after_warm_up']}.",
        "",
        *_table(["depth", "a", "b", "greatest distance from the line"], rows),
    ]


def _optimizers(found: Results) -> list[str]:
    rows = [
        [
            layers,
            *(f"{times[name] * 1000:,.0f} ms" for name in ("adamw", "muon")),
            "{:.3f} ({:.3f} to {:.3f})".format(times["ratio"], *times["quartiles"]),
        ]
        for layers, times in found["layers"].items()
    ]
    where = ", on one core" if found["threads"] == 1 else ""
    return [
        f"A step of {found['samples']} samples with Muon beside one with AdamW{where}: medians of {found['rounds']} "
        "rounds, and the median of each round's ratio with its quartiles. Newton-Schulz iterations take the same time "
        "however many tokens a step has:",
        "",
        *_table(["layers", "AdamW", "Muon", "Muon / AdamW"], rows),
    ]


def _schedule(found: Results, peak: float | None) -> list[str]:
    rows = []
    for stage in found["stages"]:
        rows.append([f"{stage['layers']} unique", f"{stage['steps']}", *_saved([stage], found, peak), _growth(stage)])
    ceiling = f" ({peak / 1e12:.3g} T)" if peak else ""
    growths = sum(stage["growth_seconds"] for stage in found["stages"])
    shallow, steps = found["stages"][:-1], sum(stage["steps"] for stage in found["stages"][:-1])
    rows.append(["all but the last", f"{steps}", *_saved(shallow, found, peak), ""])
    rows.append(["all", f"{found['steps']}", *_saved(found["stages"], found, peak), f"{growths:.2f} s"])
    headings = [
        "stage",
        "steps",
        "tokens a second",
        "from scratch",
        "FLOPs saved",
        "time saved",
        "time / FLOPs",
        "of peak",
        "its end",
    ]
    return [
        "Apollo's schedule beside training from scratch, step for step; of peak: the model's own operations a second "
        f"as a part of those that matrix products reach{ceiling}; its end: checkpoint, evaluations and growth, which "
        "are in no other column:",
        "",
        *_table(headings, rows),
    ]


def _saved(stages: list[Results], found: Results, peak: float | None) -> list[str]:
    tokens = sum(stage["steps"] for stage in stages) * found["tokens_a_step"]
    rates = [f"{tokens / sum(stage[key] for stage in stages):,.0f}" for key in ("seconds", "scratch_seconds")]
    flops, seconds = savings(stages)
    ratio = f"{seconds / flops:.2f}" if flops > 0.01 else ""
    rate = sum(s["flops"] for s in stages) / sum(s["seconds"] for s in stages)
    return [*rates, f"{flops:.1%}", f"{seconds:.1%}", ratio, f"{rate / peak:.0%}" if peak else ""]


def _growth(stage: Results) -> str:
    return f"{stage['growth_seconds']:.2f} s" if stage["growth_seconds"] else ""


def _ranks(found: Results) -> list[str]:
    one, two, more = found["1"], found["2"], found["more"]
    groups = sorted(more["groups"], key=lambda group: -two["groups"].get(group, 0.0))
    rows = [
        *(
            [row, f"{one[key]:.1f}", f"{two[key]:.1f}", f"{more[key]:+.1f}"]
            for row, key in (("a step", "milliseconds"), ("a step, under the profiler", "profiled_milliseconds"))
        ),
        *(
            [group, *(f"{run['groups'].get(group, 0.0):.1f}" for run in (one, two)), f"{more['groups'][group]:+.1f}"]
            for group in groups
        ),
    ]
    return [
        f"One rank with two threads, two ranks with one each, the same global batch; milliseconds, medians of "
        f"{found['rounds']} turns, the groups under the profiler and of the first rank, the last column of each turn's "
        "difference. Averaging gradients and gathering weights takes "
        f"{two['exchange_milliseconds']:.1f} ms by itself, and stands under *Python and waiting*, where the first rank "
        "waits for the other:",
        "",
        *_table(["", f"one rank, ZeRO {one['zero_stage']}", f"two ranks, ZeRO {two['zero_stage']}", "more"], rows),
    ]


def _shallow(found: Results) -> list[str]:
    by_layers = {layers: ways for layers, ways in found.items() if isinstance(ways, dict)}
    ways = next(iter(by_layers.values()))
    rows = [[way, *(f"{times[way]:.0f}" for times in by_layers.values())] for way in ways]
    return [
        f"Milliseconds a step of {found['ranks']} ranks, medians of {found['rounds']} rounds; a rank's samples at once,"
        f" or cut into {found['micro_batches']} micro-batches, as where full depth needs that:",
        "",
        *_table(["", *by_layers], rows),
    ]


def _pieces(found: Results) -> list[str]:
    usual = {
        "a layer": "PyTorch's fused attention",
        "the head's loss": "PyTorch's, in chunks of 512 whose logits are computed again where there are more",
    }
    rows = [
        [piece, f"{of['own']:.1f}", f"{of['usual']:.1f}", usual.get(piece, "freed memory given back, as glibc does")]
        for piece, of in found.items()
    ]
    return [
        "Milliseconds, forward and backward, of what has a way of its own here, beside the usual way, in turn:",
        "",
        *_table(["", "here", "usual", "the usual way"], rows),
    ]


def _profile(found: Results) -> list[str]:
    depths = list(found)
    groups = sorted(
        {g for run in found.values() for g in run["groups"]}, key=lambda g: -found[depths[-1]]["groups"].get(g, 0)
    )
    rows = [
        ["a step", *(f"{found[depth]['milliseconds']:.1f}" for depth in depths)],
        *([group, *(f"{found[depth]['groups'].get(group, 0.0):.1f}" for depth in depths)] for group in groups),
    ]
    largest = "; ".join(f"at depth {depth} {', '.join(list(run['groups'])[:3])}" for depth, run in found.items())
    return [
        f"Milliseconds a step under the profiler. The largest: {largest}.",
        "",
        *_table(["", *(f"depth {depth}" for depth in depths)], rows),
    ]


def _draw(results: dict[str, Results], path: Path) -> None:
    """Step time over depth with its lines, and the time and operations that each stage saves; what there is of them."""
    drawings = {"depth": _draw_depths, "schedule": _draw_savings}
    parts = [part for part in drawings if any(part in measured for measured in results.values())]
    if not parts:
        return
    figure = empty_figure(5.0 * len(parts), 3.6)
    names: dict[Axes, list[Label]] = {}
    for part, axes in zip(parts, figure.subplots(1, len(parts), squeeze=False)[0], strict=True):
        style_axes(axes)
        drawn = [name for name, measured in results.items() if part in measured]
        names[axes] = [
            label
            for number, name in enumerate(drawn)
            for label in drawings[part](axes, name, results[name][part], number)
        ]
        axes.set(xlim=(0, None), ylim=(0, None))
    label_ends(figure, names)
    save_picture(figure, path)


def _draw_depths(axes: Axes, name: str, found: Results, number: int) -> list[Label]:
    """Returns what its lines are called, and where they end."""
    ways, ends = ("drawn", "drawn, compiled", "fixed"), []
    for way, marker in zip(ways, ("o", "+", "x"), strict=True):
        seconds, line = found["seconds"][way], found["lines"][way]
        look = {"color": line_style(len(ways) * number + ways.index(way))["color"]}
        depths = [int(depth) for depth in seconds]
        axes.plot(depths, list(seconds.values()), marker, fillstyle="none", **look)
        fitted = [line["a"] + line["b"] * depth for depth in depths]
        axes.plot(depths, fitted, linewidth=0.8, **look)
        ends.append(Label(depths[-1], fitted[-1], f"{name}, {way}", look["color"]))
    axes.set(xlabel="layers that run", ylabel="seconds a step")
    return ends


def _draw_savings(axes: Axes, name: str, found: Results, number: int) -> list[Label]:
    """The same of its one line."""
    stages = [stage for stage in found["stages"] if savings([stage])[0] > 0.01]
    flops, seconds = zip(*(savings([stage]) for stage in stages), strict=True)
    look = line_style(number)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    axes.plot(flops, seconds, **look)
    axes.set(xlabel="part of the operations that a stage saves", ylabel="part of the time")
    at = flops.index(max(flops))
    return [Label(flops[at], seconds[at], name, look["color"])]
