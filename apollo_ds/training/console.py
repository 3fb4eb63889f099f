"""The output of a run in the terminal or the log while it trains. Only rank 0 shows anything."""

import logging
import time
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.prompts import MASK
from apollo_ds.planning.in_words import loss_in_words
from apollo_ds.planning.zero import zero_stages
from apollo_ds.training.step_line import WIDEST, Standing, columns, header
from data_prep.plain import is_plain

_PARTS = 20
"""The least number of lines in a run that stay above the live line. A long run has more."""
_SECONDS_APART = 600.0
_LONGEST_TEXT = 140
"""The most characters of a sample that are shown: two lines of a narrow terminal."""

_log = logging.getLogger(__name__)


class RunConsole:
    """Shows a live line in a terminal, with some lines that stay above it. A log gets only the lines that stay."""

    def __init__(self, shown: bool, terminal: Console | None = None) -> None:
        """`terminal` is None if the output goes to a log."""
        self.shown = shown
        self._terminal = terminal if shown else None
        self._live: Live | None = None
        if self._terminal and not is_plain():
            self._live = Live(console=self._terminal, transient=True, auto_refresh=False)
        self._columns: list[str] = []
        self._next_step, self._next_time = 0, 0.0
        self._next_straggler: dict[int, float] = {}

    def start(self, recipe: Recipe, ranks: int, device: str) -> None:
        """Show the method, the model, the ranks and the device of the run that begins."""
        shape, stages = recipe.model, recipe.schedule().stages
        zero = zero_stages(recipe, stages, ranks)
        self.say(
            f"{recipe.method.name}  {shape.family} {shape.num_layers}x{shape.hidden_size}  "
            f"stages {'-'.join(str(stage.unique_layers) for stage in stages)}  "
            f"{ranks} x {device}, zero {'-'.join(map(str, zero if len(set(zero)) > 1 else zero[:1]))} "
            f"{precision(recipe.deepspeed)}  seed {recipe.seed}",
            style="bold",
        )
        self.say(f"out {recipe.out}")
        if self._terminal:
            self._columns = columns(min(WIDEST, self._terminal.width))
            self.say(header(self._columns), style="dim")
        if self._live:
            self._live.start()

    def say(self, text: str, style: str = "") -> None:
        """Show a line that stays."""
        if self.shown:
            _log.info(text, extra={"style": style})

    def warn(self, text: str) -> None:
        """Show a warning."""
        if self.shown:
            _log.warning(text)

    def begin(self, step: int, steps: int) -> None:
        """Show that the first steps are running, before any result is known."""
        if self._live:
            self._show(f"step {step:,}/{steps:,}  the first steps are under way")

    def step(self, standing: Standing) -> None:
        """Show the run's progress after a step."""
        if self._live and self._terminal:
            self._show(standing.live(min(WIDEST, self._terminal.width - 1)))
        now = time.monotonic()
        if standing.step < self._next_step and now < self._next_time:
            return
        self.say(standing.row(self._columns) if self._terminal else standing.logged())
        apart = max(1, standing.steps // _PARTS)
        self._next_step = standing.step - standing.step % apart + apart
        self._next_time = now + _SECONDS_APART

    def _show(self, line: str) -> None:
        if self._live:
            self._live.update(Text(line, no_wrap=True, overflow="crop"), refresh=True)

    def straggler(self, ranks: dict[str, Any]) -> None:
        """Show which rank the others wait for. The line is repeated after ten minutes at the earliest."""
        rank, now = ranks["slowest_rank"], time.monotonic()
        if now < self._next_straggler.get(rank, 0.0):
            return
        self._next_straggler[rank] = now + _SECONDS_APART
        self.warn(
            f"rank {rank} is {ranks['slowdown']:.1f} times slower than the others: "
            f"{ranks['own_seconds'][rank]:.3f} s a step for its batch and its forward pass"
        )

    def evaluation(self, record: dict[str, Any]) -> None:
        """Show a held-out loss."""
        bits = f", {record['bits_per_byte']:.4f} bits a byte" if "bits_per_byte" in record else ""
        sets = "".join(f"; {name} {loss_in_words(loss)}" for name, loss in record.get("losses", {}).items())
        loss = loss_in_words(record["loss"])
        self.say(
            f"eval  step {record['step']:,}: held-out loss {loss}{bits}, depth {record['depth']}{sets}",
            style="cyan",
        )

    def samples(self, step: int, samples: list[dict[str, str]]) -> None:
        """Show the first text that the model has written, or the first sentence that it has filled in."""
        prompt, written = samples[0]["prompt"], samples[0]["text"]
        text = written if MASK in prompt else prompt + written
        self.say(f"text  step {step:,}: {shorten(text, _LONGEST_TEXT, placeholder=' ...')}", style="cyan")

    def growth(self, record: dict[str, Any]) -> None:
        """Show a growth, with the held-out loss before and after it."""
        before, after = record["loss_before"], record["loss_after"]
        verdict = loss_in_words(after - before, sign=True)
        if before == after or float(verdict) == 0:
            verdict = "unchanged"
        self.say(
            f"grow  step {record['step']:,}: {record['from']} -> {record['to']} layers, "
            f"held-out loss {loss_in_words(before)} -> {loss_in_words(after)} ({verdict})",
            style="green",
        )

    def finish(self, rows: dict[str, str]) -> None:
        """Show the closing table."""
        self.stop()
        self.say("finished")
        if self._terminal is None:
            for name, value in rows.items():
                self.say(f"{name}: {value}")
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(Text(name), Text(value))
        self._terminal.print(table)

    def stop(self) -> None:
        """Remove the live line, and restore the terminal."""
        if self._live and self._live.is_started:
            self._live.stop()
