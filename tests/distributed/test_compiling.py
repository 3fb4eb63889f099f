"""What is compiled is said before it begins."""

from pathlib import Path

from ranks import pool
from recipes import tiny

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.training.console import RunConsole
from apollo_ds.training.run import make_trainer


class _Heard(RunConsole):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(shown=False)
        self.lines: list[str] = []

    def say(self, text: str, style: str = "") -> None:
        self.lines.append(text)


def lines_at_start_and_growth(processes: Processes, recipe: Recipe) -> tuple[list[str], list[str]]:
    console = _Heard()
    run = make_trainer(recipe, processes, console)
    at_start = console.lines[:]
    console.lines.clear()
    run.engine, _ = run.engines.grow(run.engine, run.schedule, 0, 1)
    run.close()
    return at_start, console.lines


def test_a_line_says_that_layers_are_about_to_be_compiled(tmp_path: Path) -> None:
    recipe = tiny("bert", tmp_path / "run", compile_blocks=True)
    for lines in pool(1).run(lines_at_start_and_growth, recipe)[0]:
        assert lines.count("compiling the layers as they first run, which may take seconds to minutes") == 1


def test_nothing_is_said_of_compiling_where_nothing_is_compiled(tmp_path: Path) -> None:
    recipe = tiny("bert", tmp_path / "run")
    assert "compile" not in str(pool(1).run(lines_at_start_and_growth, recipe)[0])
