"""`apollo-ds plan`: show what a recipe does and costs, before it is trained."""

import json
import sys
from typing import Annotated, Any

import typer

from apollo_ds.commands.arguments import Json, Keys, words_of
from apollo_ds.commands.arguments import Recipe as RecipeWord
from apollo_ds.config.load import load_recipe
from apollo_ds.config.ready import check_ready, is_there, with_default_text
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.words import split_recipe
from apollo_ds.errors import UserError
from apollo_ds.gpus import usual_ranks
from apollo_ds.planning import plan as planning
from apollo_ds.planning.forecast import Machine, forecast
from apollo_ds.planning.forecast_table import print_forecast
from apollo_ds.planning.masks import in_words, left_by_masks
from apollo_ds.planning.options import GIGA, machine_of, stated_rate
from apollo_ds.planning.outlook import outlook, print_outlook
from data_prep.output import Output

EXAMPLES = """
apollo-ds plan bert-base data=data/mine
apollo-ds plan my.yaml steps=2000 --measure
apollo-ds plan llama-160m data=data/mine peak_flops=9.9e14 --ranks 64
"""
_MACHINE = "A forecast for another machine"


Measure = Annotated[
    bool,
    typer.Option("--measure", help="Measure the time and the memory here: train a few steps in a temporary folder."),
]
TokensPerSecond = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="How many tokens all ranks together train on in a second, when all layers run at full length. The "
        "plan then shows the time that the run takes.",
    ),
]
Ranks = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="How many ranks to forecast for. The plan then shows the memory of each and the bytes that they send, "
        "and the days if the key peak_flops is given.",
        rich_help_panel=_MACHINE,
    ),
]
RanksPerNode = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Ranks of a node.", show_default=f"{Machine.ranks_per_node}", rich_help_panel=_MACHINE
    ),
]
Network = Annotated[
    float | None,
    typer.Option(
        metavar="GB/S",
        help="Gigabytes a second that each rank sends.",
        show_default=f"{Machine.network / GIGA:g}",
        rich_help_panel=_MACHINE,
    ),
]
Storage = Annotated[
    float | None,
    typer.Option(
        metavar="GB/S",
        help="Gigabytes a second that all ranks together read from storage.",
        show_default=f"{Machine.storage / GIGA:g}",
        rich_help_panel=_MACHINE,
    ),
]
Utilisation = Annotated[
    float | None,
    typer.Option(
        metavar="FRACTION",
        help="The fraction of peak_flops that training reaches.",
        show_default=f"{Machine.utilisation:g}",
        rich_help_panel=_MACHINE,
    ),
]


def plan(
    recipe: RecipeWord = None,
    keys: Keys = None,
    as_json: Json = False,
    measure: Measure = False,
    tokens_per_second: TokensPerSecond = None,
    ranks: Ranks = None,
    ranks_per_node: RanksPerNode = None,
    network: Network = None,
    storage: Storage = None,
    utilisation: Utilisation = None,
) -> None:
    """Show the stages of a recipe and what they cost, without training.

    The last lines say what `apollo-ds train` would refuse, such as a folder of text that is not there.
    """
    if measure and tokens_per_second is not None:
        raise UserError("--measure, --tokens-per-second: give one of them; both tell the time of a run")
    name, overrides = split_recipe(words_of(recipe, keys))
    read, is_default_text = with_default_text(load_recipe(name, overrides), name, overrides)
    planned, masks, started = planning.plan(read), left_by_masks(read), ranks or usual_ranks()
    planned |= masks
    machine, rate = machine_of(ranks, ranks_per_node, network, storage, utilisation), stated_rate(tokens_per_second)
    if machine is not None:
        planned["forecast"] = forecast(read, planned["total"], machine)
    is_prepared = not is_default_text or is_there(read.data)
    if measure:
        from apollo_ds.training.measure import measurable_ranks  # it imports torch
        from apollo_ds.training.measure import measure as measured

        check_ready(read, measurable_ranks(ranks))
        print("Measuring by a short run ...", file=sys.stderr)
        rate = measured(read, started)
    planned |= outlook(read, planned, rate)
    if as_json:
        print(json.dumps(planned, indent=2))
    else:
        _print(read, planned, in_words(masks) if masks else "")
    sys.stdout.flush()
    for sentence in check_ready(read, started, is_prepared):
        print(sentence, file=sys.stderr)


def _print(recipe: Recipe, planned: dict[str, Any], masks: str) -> None:
    console = Output()
    planning.print_plan(recipe, console)
    if masks:
        console.print(masks)
    if "forecast" in planned:
        print_forecast(planned["forecast"], console)
    print_outlook(planned, console)
