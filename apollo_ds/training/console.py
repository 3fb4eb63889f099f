"""What a person sees in the terminal while a run trains. Only the first rank shows anything."""

from datetime import timedelta
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.prompts import MASK
from apollo_ds.planning.zero import zero_stages
from apollo_ds.schedule.schedule import Schedule

_LONGEST = timedelta.max.days * 86_400
"""Seconds, as long as dates can tell."""
_LONGEST_TEXT = 140
"""Characters of a sample: two lines of a narrow terminal."""
_COLUMNS = (
    f"{'step':>9}  {'stage':>5}  {'depth':>8}  {'loss':>7}  {'grad':>6}  {'lr':>8}  {'tok/s':>9}  {'PFLOP':>9}  eta"
)


class _Terminal(Console):
    """A console whose reader may go away, as `tee` does at Ctrl-C, without ending the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class RunConsole:
    """A live line in a terminal; in a log file, a line now and then. Growth, evaluation and saving get their own."""

    def __init__(self, schedule: Schedule, shown: bool) -> None:
        self.console = _Terminal(quiet=not shown, highlight=False, soft_wrap=True)
        self.schedule = schedule
        self._live = Live(console=self.console, transient=True, auto_refresh=False)
        self._lines_apart = max(1, schedule.total_steps // 20)
        self._next_line = 0

    def start(self, recipe: Recipe, ranks: int, device: str) -> None:
        """What is about to run."""
        shape = recipe.model
        stages = "-".join(str(stage.unique_layers) for stage in self.schedule.stages)
        zero = zero_stages(recipe, self.schedule.stages, ranks)
        self.say(
            f"[bold]{recipe.method.name}[/]  {shape.family} {shape.num_layers}x{shape.hidden_size}  stages {stages}  "
            f"{ranks} x {device}, zero {'-'.join(map(str, zero if len(set(zero)) > 1 else zero[:1]))} "
            f"{precision(recipe.deepspeed)}  seed {recipe.seed}  out {recipe.out}"
        )
        self.say(_COLUMNS, style="dim")
        if self.console.is_terminal:
            self._live.start()

    def say(self, text: str, style: str = "") -> None:
        """A line that stays."""
        self.console.print(text, style=style)

    def step(self, record: dict[str, Any], tokens_per_second: float, eta_seconds: float) -> None:
        """Where the run is."""
        stages = len(self.schedule.stages)
        line = "  ".join(
            (
                f"{record['step']:>9,}",
                f"{record['stage'] + 1:>3}/{stages}",
                f"{record['depth']:>2.3g} of {record['unique_layers']:<2}",
                f"{record['loss']:>7.4f}",
                f"{record['grad_norm']:>6.2f}",
                f"{record['lr']:>8.2e}",
                f"{tokens_per_second:>9,.0f}",
                f"{record['flops'] / 1e15:>9.4f}",
                str(timedelta(seconds=round(min(eta_seconds, _LONGEST)))),
                *([f"lr of what is new {record['new_lr']:.2e}"] if "new_lr" in record else []),
            )
        )
        if self.console.is_terminal:
            self._live.update(Text(line, no_wrap=True), refresh=True)
        if record["step"] >= self._next_line:
            self.say(line)
            self._next_line = record["step"] - record["step"] % self._lines_apart + self._lines_apart

    def straggler(self, ranks: dict[str, Any]) -> None:
        """A rank that the others wait for."""
        own = ranks["own_seconds"][ranks["slowest_rank"]]
        self.say(
            f"[yellow]  rank {ranks['slowest_rank']} is {ranks['slowdown']:.1f} times slower than the others: "
            f"{own:.3f} s a step for its batch and its forward pass[/]"
        )

    def evaluation(self, record: dict[str, Any]) -> None:
        """A held-out loss."""
        bits = f", {record['bits_per_byte']:.4f} bits a byte" if "bits_per_byte" in record else ""
        sets = "".join(f"; {name} {loss:.4f}" for name, loss in record.get("losses", {}).items())
        self.say(
            f"[cyan]  eval[/] {record['step']:,}: held-out loss {record['loss']:.4f}{bits} at depth {record['depth']}"
            f"{escape(sets)}"
        )

    def samples(self, step: int, samples: list[dict[str, str]]) -> None:
        """The first of the texts that the model has written, or of the sentences that it has filled in."""
        prompt, written = samples[0]["prompt"], samples[0]["text"]
        text = written if MASK in prompt else prompt + written
        self.say(f"[cyan]  text[/] {step:,}: {escape(shorten(text, _LONGEST_TEXT, placeholder=' ...'))}")

    def growth(self, record: dict[str, Any]) -> None:
        """A growth, and what it did to the held-out loss."""
        before, after = record["loss_before"], record["loss_after"]
        verdict = f"{after - before:+.4f}"
        if before == after or float(verdict) == 0:
            verdict = "unchanged"
        self.say(
            f"[bold green]  grow[/] {record['from']} -> {record['to']} layers at step {record['step']:,} by "
            f"{record['map_name']}, {record['seconds']:.1f} s: held-out loss {before:.4f} -> {after:.4f} ({verdict})"
        )

    def finish(self, rows: dict[str, str]) -> None:
        """The closing table."""
        self.stop()
        table = Table(show_header=False, title="finished", title_justify="left")
        for name, value in rows.items():
            table.add_row(name, value)
        self.console.print(table)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._live.is_started:
            self._live.stop()
