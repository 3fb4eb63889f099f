"""`apollo-ds plan`: what a recipe does and costs, before anything is spent on it."""

import json
import sys
from typing import Annotated, Any

import typer

from apollo_ds.commands.arguments import Json, Words
from apollo_ds.config.load import load_recipe
from apollo_ds.config.packaged import split_recipe
from apollo_ds.config.ready import check_ready, is_there, with_default_text
from apollo_ds.config.recipe import Recipe
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

apollo-ds plan llama-3.2-1b data=data/mine --ranks 64 --network 50 peak_flops=9.9e14
"""
_MACHINE = "The machine to forecast memory and time for"


Measure = Annotated[
    bool, typer.Option("--measure", help="Train a few steps in a temporary folder, for the time and the memory.")
]
TokensPerSecond = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="The time at this rate: tokens that all ranks together train on in a second, with all layers at full "
        "length.",
    ),
]
Ranks = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Forecast memory and bytes sent on so many ranks, and with peak_flops=... the days.",
        rich_help_panel=_MACHINE,
    ),
]
RanksPerNode = Annotated[
    int | None,
    typer.Option(
        metavar="N", help=f"Ranks that share a node; {Machine.ranks_per_node} by default.", rich_help_panel=_MACHINE
    ),
]
Network = Annotated[
    float | None,
    typer.Option(
        metavar="GB/S",
        help=f"Gigabytes a second that each rank sends; {Machine.network / GIGA:g} by default.",
        rich_help_panel=_MACHINE,
    ),
]
Storage = Annotated[
    float | None,
    typer.Option(
        metavar="GB/S",
        help=f"Gigabytes a second that all ranks together read from storage; {Machine.storage / GIGA:g} by default.",
        rich_help_panel=_MACHINE,
    ),
]
Utilisation = Annotated[
    float | None,
    typer.Option(
        metavar="FRACTION",
        help=f"The fraction of peak_flops that is reached; {Machine.utilisation:g} by default.",
        rich_help_panel=_MACHINE,
    ),
]


def plan(
    words: Words = None,
    as_json: Json = False,
    measure: Measure = False,
    tokens_per_second: TokensPerSecond = None,
    ranks: Ranks = None,
    ranks_per_node: RanksPerNode = None,
    network: Network = None,
    storage: Storage = None,
    utilisation: Utilisation = None,
) -> None:
    """Show a recipe's stages and what they cost. It starts no run, and says what training would refuse."""
    if measure and tokens_per_second is not None:
        raise UserError("--measure, --tokens-per-second: give one of them; both tell the time of a run")
    name, overrides = split_recipe(words or [])
    recipe, is_default_text = with_default_text(load_recipe(name, overrides), name, overrides)
    planned, masks, started = planning.plan(recipe), left_by_masks(recipe), ranks or usual_ranks()
    planned |= masks
    machine, rate = machine_of(ranks, ranks_per_node, network, storage, utilisation), stated_rate(tokens_per_second)
    if machine is not None:
        planned["forecast"] = forecast(recipe, planned["total"], machine)
    is_prepared = not is_default_text or is_there(recipe.data)
    if measure:
        from apollo_ds.training.measure import measurable_ranks  # it imports torch
        from apollo_ds.training.measure import measure as measured

        check_ready(recipe, measurable_ranks(ranks))
        print("Measuring by a short run ...", file=sys.stderr)
        rate = measured(recipe, started)
    planned |= outlook(recipe, planned, rate)
    if as_json:
        print(json.dumps(planned, indent=2))
    else:
        _print(recipe, planned, in_words(masks) if masks else "")
    sys.stdout.flush()
    for sentence in check_ready(recipe, started, is_prepared):
        print(sentence, file=sys.stderr)


def _print(recipe: Recipe, planned: dict[str, Any], masks: str) -> None:
    console = Output()
    planning.print_plan(recipe, console)
    if masks:
        console.print(masks)
    if "forecast" in planned:
        print_forecast(planned["forecast"], console)
    print_outlook(planned, console)
