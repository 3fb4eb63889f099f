"""The options of `apollo-ds plan` and `apollo-ds init` that tell of the machine and of what a run may cost."""

import argparse

from apollo_ds.config.packaged import path_argument
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES, USUAL
from apollo_ds.planning.budget import Budget
from apollo_ds.planning.forecast import Machine
from apollo_ds.planning.outlook import Rate

_GIGA = 1e9
_SLOWEST, _FASTEST = 1e-6, 1e6
"""Gigabytes a second that a network or storage may be said to have."""
_FEWEST_TOKENS, _MOST_TOKENS = 1e-3, 1e12
"""Tokens a second that a machine may be said to train on."""


def add_machine(parser: argparse.ArgumentParser) -> None:
    """What `plan` is told of the machine; defaults are those of `Machine`."""
    parser.add_argument(
        "--ranks", type=int, help="forecast memory and bytes sent on so many ranks, and with peak_flops=... the days"
    )
    for option, metavar, default, meaning in (
        ("--ranks-per-node", "N", Machine.ranks_per_node, "ranks that share a node"),
        ("--network", "GB/S", Machine.network / _GIGA, "gigabytes a second that each rank sends"),
        ("--storage", "GB/S", Machine.storage / _GIGA, "gigabytes a second that all ranks together read from storage"),
        ("--utilisation", "FRACTION", Machine.utilisation, "fraction of peak_flops that is reached"),
    ):
        parser.add_argument(
            option, type=type(default), metavar=metavar, help=f"{meaning}; default {default:g}; needs --ranks"
        )


def add_rate(parser: argparse.ArgumentParser) -> None:
    """How `plan` knows the time that a run takes."""
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--measure", action="store_true", help="train a few steps in a temporary folder, for the time and the memory"
    )
    rate.add_argument(
        "--tokens-per-second",
        type=float,
        metavar="N",
        help="for the time: tokens that all ranks together train on in a second, all layers at full length",
    )


def add_init(parser: argparse.ArgumentParser) -> None:
    """What `init` is told."""
    parser.add_argument(
        "--data", type=path_argument, required=True, metavar="FOLDER", help="folder that apollo-prep has written"
    )
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="FILE.yaml", help="the recipe to write; must not exist"
    )
    cost = parser.add_mutually_exclusive_group(required=True)
    cost.add_argument(
        "--budget", metavar="TIME_OR_FLOPS", help="90s, 10m, 2h or 3d on this machine, or 3e18 operations"
    )
    cost.add_argument("--tokens", metavar="N", help="tokens to train on, such as 300M or 2e9")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--family", choices=FAMILIES, default=USUAL, help=f"the kind of model; default {USUAL}")
    model.add_argument("--like", type=path_argument, metavar="RECIPE", help="take the model of a recipe, such as demo")
    parser.add_argument("--ranks", type=int, help="how many processes; default: one for each GPU, or two")


def budget_of(options: argparse.Namespace) -> Budget:
    """What the run of `init` may cost.

    Raises:
        UserError: it is not written as it should be.
    """
    return Budget.read(options.budget) if options.budget is not None else Budget.read_tokens(options.tokens)


def stated_rate(options: argparse.Namespace) -> Rate | None:
    """The rate that `--tokens-per-second` states.

    Raises:
        UserError: it is out of range.
    """
    stated = options.tokens_per_second
    if stated is None:
        return None
    if not _FEWEST_TOKENS <= stated <= _MOST_TOKENS:
        raise UserError(
            f"--tokens-per-second: must be from {_FEWEST_TOKENS:g} to {_MOST_TOKENS:g}, such as 20000, not {stated:g}"
        )
    return Rate(stated)


def machine_of(options: argparse.Namespace) -> Machine | None:
    """The machine that options describe; None where they do not.

    Raises:
        UserError: a number is out of range, or says nothing since there is no --ranks; names the option.
    """
    counts = {"--ranks": options.ranks, "--ranks-per-node": options.ranks_per_node}
    speeds = {"--network": options.network, "--storage": options.storage}
    given = [
        name for name, value in (counts | speeds | {"--utilisation": options.utilisation}).items() if value is not None
    ]
    if given and options.ranks is None:
        raise UserError(f"{given[0]}: is for a forecast; give --ranks too")
    for option, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{option}: must be at least 1, not {count}")
    for option, speed in speeds.items():
        if speed is not None and not _SLOWEST <= speed <= _FASTEST:
            raise UserError(f"{option}: must be gigabytes a second, from {_SLOWEST:g} to {_FASTEST:g}, not {speed:g}")
    if options.utilisation is not None and not 0 < options.utilisation <= 1:
        raise UserError(f"--utilisation: must be above 0 and at most 1, such as 0.4, not {options.utilisation:g}")
    if options.ranks is None:
        return None
    told = {
        "ranks_per_node": options.ranks_per_node,
        "network": options.network and options.network * _GIGA,
        "storage": options.storage and options.storage * _GIGA,
        "utilisation": options.utilisation,
    }
    return Machine(options.ranks, **{name: value for name, value in told.items() if value is not None})
