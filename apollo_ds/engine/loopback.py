"""Where the ranks of one machine meet: on its loopback interface, so that nothing listens to the network."""

import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch.distributed as dist

_ADDRESSES = ("127.0.0.1", "localhost")
_SCHEME = "loopback"
_INTERFACE = "lo"


def meeting_place() -> str | None:
    """The `init_method` of `init_process_group`; None, for torch's own way, where not all ranks are on this machine.

    Torch's way is also that of a launcher that has a store for the ranks already, as torchrun has. Gloo and NCCL are
    kept to the interface too, unless the environment names another.
    """
    if os.environ["MASTER_ADDR"] not in _ADDRESSES or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return None
    if _INTERFACE in (name for _, name in socket.if_nameindex()):
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, _INTERFACE)
    return f"{_SCHEME}://"


def _meet(url: str, timeout: timedelta, **_: Any) -> Iterator[tuple[dist.Store, int, int]]:
    """The store, this rank, and how many there are. The store by itself would listen on every interface."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = _ADDRESSES[0], int(os.environ["MASTER_PORT"])
    listening = socket.create_server((host, port)).detach() if rank == 0 else None
    yield (
        dist.TCPStore(
            host, port, world_size, is_master=rank == 0, timeout=timeout, multi_tenant=True, master_listen_fd=listening
        ),
        rank,
        world_size,
    )


dist.register_rendezvous_handler(_SCHEME, _meet)
