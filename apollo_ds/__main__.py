"""The command line: `apollo-ds init | plan | train | keys | export | compare | sweep | finetune`."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from apollo_ds import __version__
from apollo_ds.config.array_list import SIGN
from apollo_ds.config.load import load_recipe
from apollo_ds.config.packaged import DEFAULT_RECIPE, path_argument, split_recipe
from apollo_ds.config.ready import check_ready, is_there, with_default_text
from apollo_ds.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from apollo_ds.finetune.options import add_options
from apollo_ds.gpus import usual_ranks
from apollo_ds.planning.forecast import forecast
from apollo_ds.planning.forecast_table import print_forecast
from apollo_ds.planning.masks import in_words, left_by_masks
from apollo_ds.planning.options import add_init, add_machine, add_rate, budget_of, machine_of, stated_rate
from apollo_ds.planning.outlook import outlook, print_outlook
from apollo_ds.planning.plan import plan, print_plan
from apollo_ds.training.faults.last_words import say_last_words
from data_prep.output import UNREAD, Output


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error becomes one line on one rank, and an exit code that says whose it is (`errors.py`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it, as `>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    parser = _parser()
    words = sys.argv[1:] if arguments is None else list(arguments)
    options, overrides = parser.parse_known_args(words)
    options.command_line = shlex.join(["apollo-ds", *words])
    if not all(map(_is_of_a_recipe, overrides)) or (overrides and "words" not in options):
        parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    if overrides:  # those that follow an option, which argparse parts from those before it
        options.words += overrides
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("apollo-ds: stopped", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more as it ends
        print(f"apollo-ds: {UNREAD}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Exception as error:
        sys.exit(say_last_words(error))


def _is_of_a_recipe(word: str) -> bool:
    return word.startswith(SIGN) or ("=" in word and not word.startswith("-"))


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="apollo-ds", description=__doc__)
    parser.add_argument("--version", action="version", version=f"apollo-ds {__version__}")
    _add_local_rank(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_training(commands)
    _add_results(commands)
    return parser


def _add_local_rank(parser: argparse.ArgumentParser) -> None:
    """DeepSpeed's launcher adds it behind the script, or behind a module. The rank comes from the environment."""
    parser.add_argument("--local_rank", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_training(commands: _Commands) -> None:
    """The commands for a recipe."""
    beginning = commands.add_parser("init", help="write a recipe for your text and budget; measures this machine")
    add_init(beginning)
    beginning.set_defaults(command=_init)

    planning = commands.add_parser("plan", help="show a recipe's stages and their cost; starts nothing")
    _add_recipe(planning)
    planning.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_machine(planning)
    add_rate(planning)
    planning.set_defaults(command=_plan)

    training = commands.add_parser("train", help="train a recipe on every GPU of this machine, or on two CPU ranks")
    _add_recipe(training)
    training.add_argument("--ranks", type=int, help="how many processes; default: one for each GPU, or two")
    _add_local_rank(training)
    training.set_defaults(command=_train)

    telling = commands.add_parser("keys", help="what a recipe may hold: every key, its type, default and meaning")
    telling.add_argument("word", nargs="?", default="", help="only the keys with this in their names, such as learning")
    telling.add_argument("--markdown", action="store_true", help="print the page docs/keys.md")
    telling.set_defaults(command=_keys)

    sweeping = commands.add_parser("sweep", help="train every recipe of a grid; run it again to resume")
    sweeping.add_argument(
        "grid", type=path_argument, metavar="GRID.yaml", help="the grid: the keys recipe, set, grid and out"
    )
    choosing = sweeping.add_mutually_exclusive_group()
    choosing.add_argument("--list", action="store_true", help="list incomplete runs for launch/pretrain.sbatch")
    choosing.add_argument("--number", type=int, metavar="N", help="the N-th run alone")
    choosing.add_argument("--jobs", type=int, default=1, metavar="N", help="train N runs at a time; default 1")
    sweeping.set_defaults(command=_sweep)


def _add_results(commands: _Commands) -> None:
    """The commands for what runs have left."""
    exporting = commands.add_parser("export", help="write a checkpoint as a transformers model")
    exporting.add_argument("run", type=path_argument, help="run folder")
    exporting.add_argument("folder", type=path_argument, help="where to write")
    exporting.add_argument("--step", type=int, help="step of the checkpoint, such as 200; default: the newest")
    exporting.set_defaults(command=_export)

    comparing = commands.add_parser("compare", help="runs at equal loss, at equal cost and against fixed models")
    comparing.add_argument("runs", type=path_argument, nargs="+", metavar="RUN", help="run folder")
    comparing.add_argument(
        "--baseline", metavar="RUN_OR_NAME", help="run folder, or name in the table; default: the first run"
    )
    comparing.add_argument(
        "--frontier",
        type=path_argument,
        nargs="+",
        default=(),
        metavar="FIXED_RUN",
        help="run folders of fixed models (method: scratch) of any size and length, trained to their end; "
        "recipes are compared with the best of them at their own cost",
    )
    comparing.add_argument("--tuned", action="store_true", help="show each recipe only at its best learning rate")
    comparing.add_argument("--out", type=path_argument, metavar="FOLDER", help="where to write a page and figures")
    comparing.set_defaults(command=_compare)

    tuning = commands.add_parser("finetune", help="fine-tune a model on a GLUE-style task or SQuAD over several seeds")
    add_options(tuning)
    tuning.set_defaults(command=_finetune)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE key=value",
        help=f"a YAML file, or the name of one of the package's ({DEFAULT_RECIPE.stem} by default), and overrides; "
        f"{SIGN}LIST: those of a task of SLURM's arrays",
    )


def _init(options: argparse.Namespace) -> None:
    budget = budget_of(options)
    from apollo_ds.training.new_recipe import Wish, new_recipe

    wish = Wish(options.data, options.out, budget, options.family, options.like, options.ranks)
    new_recipe(wish, options.command_line, Output())


def _plan(options: argparse.Namespace) -> None:
    name, overrides = split_recipe(options.words)
    recipe, is_default_text = with_default_text(load_recipe(name, overrides), name, overrides)
    planned, masks, ranks = plan(recipe), left_by_masks(recipe), options.ranks or usual_ranks()
    planned |= masks
    machine, rate = machine_of(options), stated_rate(options)
    if machine is not None:
        planned["forecast"] = forecast(recipe, planned["total"], machine)
    is_prepared = not is_default_text or is_there(recipe.data)
    if options.measure:
        from apollo_ds.training.measure import measurable_ranks, measure  # it imports torch

        check_ready(recipe, measurable_ranks(options.ranks))
        print("Measuring by a short run ...", file=sys.stderr)
        rate = measure(recipe, ranks)
    planned |= outlook(recipe, planned, rate)
    if options.json:
        print(json.dumps(planned, indent=2))
    else:
        console = Output()
        print_plan(recipe, console)
        if masks:
            console.print(in_words(masks))
        if machine is not None:
            print_forecast(planned["forecast"], console)
        print_outlook(planned, console)
    sys.stdout.flush()
    for sentence in check_ready(recipe, ranks, is_prepared):
        print(sentence, file=sys.stderr)


def _train(options: argparse.Namespace) -> None:
    from apollo_ds.training.start import train_by_command

    sys.exit(train_by_command(options.words, options.ranks))


def _keys(options: argparse.Namespace) -> None:
    from apollo_ds.config.keys import markdown, print_keys

    if options.markdown:
        print(markdown(), end="")
    else:
        print_keys(options.word, Output())


def _export(options: argparse.Namespace) -> None:
    from apollo_ds.config.run_folder import RunFolder
    from apollo_ds.training.export_run import export_run

    chosen = export_run(RunFolder(options.run), options.folder, options.step)
    print(f"{chosen} written to {options.folder} as a transformers model")


def _compare(options: argparse.Namespace) -> None:
    from apollo_ds.experiments.compare.comparison import Comparison
    from apollo_ds.experiments.compare.page import print_comparison, write_page

    comparison = Comparison.of(options.runs, options.baseline, options.tuned, options.frontier)
    print_comparison(comparison, Output())
    if options.out is not None:
        print(write_page(comparison, options.out))


def _sweep(options: argparse.Namespace) -> None:
    from apollo_ds.experiments.sweep.further import awaits_others, known_cells
    from apollo_ds.experiments.sweep.grid import Grid
    from apollo_ds.experiments.sweep.runner import Sweep

    if options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: give at least 1")
    grid = Grid.read(options.grid)
    if not options.list:
        sys.exit(Sweep(grid, jobs=options.jobs).run(options.number))
    cells = [cell for cell in known_cells(grid) if not cell.is_complete]
    waiting = [cell for cell in cells if (trunk := grid.trunk(cell)) and trunk.is_awaited_by(cell)]
    print("".join(f"{line}\n" for line in grid.lines([cell for cell in cells if cell not in waiting])), end="")
    if waiting:
        print(
            f"branches: {len(waiting)} not listed, until the runs that they branch off have come there", file=sys.stderr
        )
    if awaits_others(grid):
        print("further_seeds: their runs are listed once all of these are complete", file=sys.stderr)


def _finetune(options: argparse.Namespace) -> None:
    from apollo_ds.finetune.command import finetune

    finetune(options)


if __name__ == "__main__":
    main()
