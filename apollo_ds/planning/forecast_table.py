"""Print a forecast for people."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from apollo_ds.planning.in_words import count_in_words, size_in_words, time_in_words
from data_prep.counted import counted

_WIDEST = 80
_DAY = 86_400


def print_forecast(result: dict[str, Any], console: Console) -> None:
    """Print a forecast: a line on time, a table of memory and bytes by ZeRO stage, and what the figures mean."""
    ranks, zero = result["ranks"], "-".join(str(stage) for stage in result["zero_stages"])
    if result["days"] is None:
        console.print(f"{counted(ranks, 'rank')}. For tokens a second and time, add peak_flops=9.9e14, a rank's peak.")
    else:
        console.print(
            f"{counted(ranks, 'rank')} at {result['utilisation']:.0%} of {count_in_words(result['peak_flops'])}FLOP/s: "
            f"{count_in_words(result['tokens_per_second'])} tokens/s, {time_in_words(result['days'] * _DAY)}."
        )
    console.width = max(console.width, _WIDEST)  # let the terminal wrap a line rather than cut a number
    console.print("", _table(result), "", sep="\n")
    samples, on_node, sharing = result["micro_batch"], result["ranks_per_node"], result["sequence_parallel"]
    together = f"{counted(on_node, 'rank')} a node"
    at_once = f"{counted(samples, 'sample')} at once{f' by each {sharing} ranks' if sharing > 1 else ''}"
    network, storage = (result[f"{name}_bytes_per_second"] / 1e9 for name in ("network", "storage"))
    console.print(
        f"[dim]Computed, not measured: {at_once}, {together}. If a run\n"
        "grows, each figure is of its largest stage or growth.\n"
        "device: weights, gradients, optimizer, buckets, activations.\n"
        "host: a node's own memory, without Python's, about 1 GB a rank; later: while a\n"
        "checkpoint is written, or the model grows, from a copy of the state.\n"
        "sent: by each rank. growth, resume: the least that moving the state takes, where\n"
        f"each rank sends {network:g} GB/s (--network), and all read {storage:g} GB/s together (--storage).[/]"
    )
    console.print(
        f"A checkpoint takes up to {size_in_words(result['checkpoint_bytes'])}. Stages train under ZeRO {zero}.",
        soft_wrap=True,
    )


def later_host_bytes(figures: dict[str, Any]) -> float:
    """The host memory of a node while a run saves or grows, whichever takes more. `figures` are of one ZeRO stage."""
    return max(figures["node_host_bytes_saving"], figures["node_host_bytes_growing"] or 0)


def _table(result: dict[str, Any]) -> Table:
    grows = result["by_zero_stage"]["0"]["growth_seconds"] is not None
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    headings = ["ZeRO", "device\na rank", "device\na node", "host\na node,\nstarting", "host\na node,\nlater"]
    headings += ["sent\na step", "sending\nat least", *(["growth\nat least"] if grows else []), "resume\nat least"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for zero, figures in result["by_zero_stage"].items():
        table.add_row(
            zero,
            size_in_words(figures["memory_bytes"]),
            size_in_words(figures["node_memory_bytes"]),
            size_in_words(figures["node_host_bytes_starting"]),
            size_in_words(later_host_bytes(figures)),
            size_in_words(figures["step_sent_bytes"]),
            time_in_words(figures["step_sent_seconds"]),
            *([time_in_words(figures["growth_seconds"])] if grows else []),
            time_in_words(figures["resume_seconds"]),
        )
    return table
