"""`deepspeed --hostfile` over two nodes that are reached by ssh and pdsh. One run is started, and told to stop."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import two_nodes
from launching import SCRIPT, finish, free_port, last_saved, ranks_of, start, wait_for_steps
from recipes import tiny, write
from runs import events

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import EXIT_STOPPED

pytestmark = pytest.mark.skipif(
    bool(two_nodes.missing()), reason=f"HOSTFILES ARE NOT TESTED: {', '.join(two_nodes.missing())} missing"
)


@dataclass(frozen=True)
class Stopped:
    """A run of two ranks, which SIGTERM to the second of them has ended."""

    recipe: Recipe
    shells: list[dict[str, str]]
    """The environments of the ranks."""
    listening: list[set[str]]
    """The addresses at which each listened."""
    code: int
    output: str


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stopped]:
    """By a signal to the rank alone: one to `deepspeed` itself would end the user's other runs on these nodes too."""
    recipe = tiny("gpt2", tmp_path_factory.mktemp("hostfile") / "run", steps=5000, save_every=5000, log_every=1)
    path = write(recipe, recipe.out.with_name("recipe.yaml"))
    hostfile = recipe.out.with_name("hostfile")
    hostfile.write_text("".join(f"{node} slots=1\n" for node in two_nodes.NODES))
    options = ("--hostfile", str(hostfile), "--master_port", free_port())
    with two_nodes.two_nodes() as searched:
        if not own_addresses():
            pytest.skip("this machine has a loopback interface alone")
        process = start("env", f"PATH={searched}", "deepspeed", *options, SCRIPT, path, f"out={recipe.out}")
        try:
            wait_for_steps(process, recipe.out, 3)
            ranks = sorted(ranks_of(recipe.out), key=lambda rank: rank.environ()["RANK"])
            shells, listening = [rank.environ() for rank in ranks], [addresses_of(rank) for rank in ranks]
            ranks[1].send_signal(signal.SIGTERM)
            yield Stopped(recipe, shells, listening, *finish(process))
        finally:
            for rank in ranks_of(recipe.out):
                rank.kill()


def own_addresses() -> list[str]:
    """Those that DeepSpeed asks the first node for."""
    return subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()


def addresses_of(process: psutil.Process) -> set[str]:
    connections: list[Any] = process.net_connections("tcp")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_each_node_has_a_rank_and_the_script_runs_as_it_stands(stopped: Stopped) -> None:
    assert [shell["CROSS_RANK"] for shell in stopped.shells] == ["0", "1"]
    assert [event["ranks"] for event in events(stopped.recipe, "start")] == [2]


def test_ranks_listen_on_the_interface_that_leads_to_the_first_node(stopped: Stopped) -> None:
    first_node = stopped.shells[0]["MASTER_ADDR"]
    assert first_node == own_addresses()[0]
    addresses = psutil.net_if_addrs().values()
    on_the_way = {one.address for of_one in addresses if first_node in [a.address for a in of_one] for one in of_one}
    assert stopped.listening[1]
    assert stopped.listening[1] <= on_the_way  # the first rank's store listens on all of them


def test_a_signal_to_one_rank_stops_all_and_its_code_comes_back(stopped: Stopped) -> None:
    assert stopped.code == EXIT_STOPPED, stopped.output
    assert stopped.output.count("run the same command to resume") == 1
    said = re.escape(f"SIGTERM on {socket.gethostname()}")
    assert re.search(rf"^node1: \S+ \S+ \[rank 0\] {said}", stopped.output, re.MULTILINE)
    assert last_saved(stopped.recipe.out) > 0
